"""The keys: one stream per execution under its published name, and beside it what belongs to it, in the same slot.

A Redis Cluster puts a key without braces where its whole name says, and one with braces where what is in them says. So
``…state:{kodo:events:FID}`` lies with the stream ``kodo:events:FID``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...error import ConfigurationError

_BRACES = re.compile(r"[^{}]*(\{[^{}]+\}[^{}]*)?")


@dataclass(frozen=True, slots=True)
class Names:
    """Makes key names.

    Args:
        prefix: of every key. group: the consumer group's name.

    Raises:
        ConfigurationError: braces in them that a cluster would take for something else.
    """

    prefix: str
    group: str

    def __post_init__(self) -> None:
        if not _BRACES.fullmatch(self.prefix):
            raise ConfigurationError(
                f"KODO_REDIS_STREAM_PREFIX={self.prefix!r}: braces only as one pair, {{like this}}"
            )
        if not self.group or not re.fullmatch(r"[^{}\s]+", self.group):
            raise ConfigurationError(f"KODO_REDIS_CONSUMER_GROUP={self.group!r}: a word without braces and blanks")

    @property
    def base(self) -> str:
        """How the keys begin that all consumers of the group share."""
        return f"{self.prefix}{{{self.group}}}:"

    @property
    def consumers(self) -> str:
        """Who lives, by the end of the lease."""
        return f"{self.base}consumers"

    @property
    def commits(self) -> str:
        """The stream of what was acknowledged."""
        return f"{self.base}commits"

    @property
    def search(self) -> str:
        """That a consumer is looking for what lost its reader."""
        return f"{self.base}search"

    @property
    def any_state(self) -> str:
        """What the names of all executions' states match, as SCAN takes it."""
        return re.sub(r"([*?\[\]\\])", r"\\\1", f"{self.prefix}state:") + "{*"

    def fid_of(self, state: str) -> str:
        """The execution that a state belongs to."""
        return state.removesuffix("}").removeprefix(f"{self.prefix}state:{{{self.prefix}")

    def bell(self, consumer: str) -> str:
        """The stream on which a consumer hears what is there for it."""
        return f"{self.base}bell:{consumer}"

    def facts(self, consumer: str) -> str:
        """What a consumer says of itself; there as long as its lease."""
        return f"{self.base}facts:{consumer}"

    def held(self, consumer: str) -> str:
        """The executions a consumer was assigned."""
        return f"{self.base}held:{consumer}"

    def stream(self, fid: str) -> str:
        """An execution's events."""
        return f"{self.prefix}{fid}"

    def state(self, fid: str) -> str:
        """How far an execution is, and who reads it."""
        return self._beside("state", fid)

    def producers(self, fid: str) -> str:
        """What each producer of an execution put last."""
        return self._beside("producers", fid)

    def closed(self, fid: str) -> str:
        """That an execution has had its end; kept for a day."""
        return self._beside("closed", fid)

    def recall(self, fid: str) -> str:
        """What a consumer remembers of an execution that was here before the server lost its memory."""
        return self._beside("recall", fid)

    def room(self, fid: str) -> str:
        """How the keys begin on which producers of an execution wait for room."""
        return self._beside("room", fid) + ":"

    def bytes(self, fid: str, *, in_cluster: bool) -> str:
        """The count of unacknowledged bytes: of all executions, in a cluster of this one."""
        return self._beside("bytes", fid) if in_cluster else f"{self.base}bytes"

    def _beside(self, what: str, fid: str) -> str:
        return f"{self.prefix}{what}:{{{self.stream(fid)}}}"
