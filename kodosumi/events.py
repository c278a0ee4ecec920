"""Events: what a run tells, from the user's code to the browser.

Every part of the way speaks in these types. The published kinds, states and payloads are listed in
``docs/reference/events.md``. This module knows nothing of queues, stores or pages.
"""

from __future__ import annotations

import codecs
import itertools
import json
import os
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from .error import MalformedEvent


class EventKind(StrEnum):
    """What an event is about; the values are the published strings."""

    STATUS = "status"
    INPUTS = "inputs"
    META = "meta"
    AGENT = "agent"
    UPLOAD = "upload"
    DEBUG = "debug"
    STDOUT = "stdout"
    STDERR = "stderr"
    RESULT = "result"
    ACTION = "action"
    FINAL = "final"
    ERROR = "error"
    LOCK = "lock"
    LEASE = "lease"
    ATTEMPT = "attempt"


class ExecutionState(StrEnum):
    """Where an execution stands; ``awaiting`` is computed from open locks and never stored."""

    STARTING = "starting"
    RUNNING = "running"
    AWAITING = "awaiting"
    PAUSED = "paused"
    FINISHED = "finished"
    ERROR = "error"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow this state."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({ExecutionState.FINISHED, ExecutionState.ERROR})


class Event(NamedTuple):
    """One thing that happened in a run, as its producer made it.

    Attributes:
        kind: what it is about.
        timestamp: when, in seconds since the epoch (UTC).
        payload: the published text of this kind: a bare word, plain text or a wrapped JSON value.
    """

    kind: EventKind
    timestamp: float
    payload: str

    @classmethod
    def now(cls, kind: EventKind, payload: str) -> Event:
        """An event of this moment, with a payload that every store and browser can hold."""
        return cls(kind, time.time(), storable(payload))

    @property
    def ends_execution(self) -> bool:
        """Whether this is the terminal status event of its execution."""
        return self.kind == EventKind.STATUS and self.payload in TERMINAL_STATES


class StoredEvent(NamedTuple):
    """An event with its place in its execution's stream, 1, 2, 3, … without a gap."""

    seq: int
    kind: EventKind
    timestamp: float
    payload: str


class Position(NamedTuple):
    """Where a batch lies in the transport: ordered within one execution, also across transport restarts.

    Attributes:
        epoch: the transport's incarnation (Ray: start of the queue actor; Redis: milliseconds).
        offset: place within it.
    """

    epoch: int
    offset: int


class Batch(NamedTuple):
    """Events of one execution that travel, are stored and are acknowledged as one.

    Attributes:
        position: where the transport keeps it.
        events: in their producer's order, never empty.
    """

    position: Position
    events: Sequence[Event]


def storable(text: str) -> str:
    """``text`` without what databases and browsers refuse: lone surrogates and NUL become U+FFFD."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-8", "replace_surrogate").decode("utf-8").replace("\0", "\ufffd")


def parsed_json(text: str | bytes) -> Any:
    """What a JSON text of somebody else holds; lone surrogates, which JSON can spell as escapes, become U+FFFD.

    Raises:
        ValueError: it is no JSON. RecursionError: it is nested too deeply.
    """
    value = json.loads(text)
    if (b"\\ud" if isinstance(text, bytes) else "\\ud") in text.lower():  # type: ignore[operator]
        # One that got through would fail every answer that shows it, such as a whole page of a list.
        value = json.loads(storable(json.dumps(value, ensure_ascii=False)))
    return value


def encode_events(events: Iterable[Event]) -> bytes:
    """The wire form of a batch: a JSON array of ``[kind, timestamp, payload]``, UTF-8."""
    return json.dumps(list(events), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def decode_events(wire: bytes | str) -> list[Event]:
    """The events of a wire form made by :func:`encode_events`.

    Raises:
        MalformedEvent: it is not one.
    """
    try:
        return [Event(EventKind(kind), float(timestamp), str(payload)) for kind, timestamp, payload in json.loads(wire)]
    except (ValueError, TypeError) as exc:
        raise MalformedEvent(f"not a batch of events: {exc}") from exc


_FID_ORIGIN = int.from_bytes(os.urandom(3), "big")
_FID_COUNTER = itertools.count(_FID_ORIGIN)


def new_fid(now: float | None = None) -> str:
    """A fresh execution id: 24 hex digits, an ObjectId, sorted by the microsecond of its making.

    Args:
        now: seconds since the epoch; this moment by default.
    """
    seconds, fraction = divmod(time.time() if now is None else now, 1)
    micros = int(fraction * 1_000_000)
    machine = int.from_bytes(os.urandom(3), "big") & 0xFFFFF
    return f"{int(seconds):08x}{micros:05x}{machine:05x}{next(_FID_COUNTER) & 0xFFFFFF:06x}"


def is_fid(text: str) -> bool:
    """Whether ``text`` has the shape of an execution id."""
    return len(text) == 24 and all(char in "0123456789abcdef" for char in text)


def _replace_surrogate(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "\ufffd".encode() * (error.end - error.start), error.end


codecs.register_error("replace_surrogate", _replace_surrogate)
