"""The contract of a store: where executions and their events are kept, written by spoolers, read by panels.

A member of this family is a file or a package; all pass the suite in ``tests/store_contract.py``.
A store knows nothing of transports but their :class:`~kodosumi.events.Position`, and nothing of pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from ..events import Batch, EventKind, ExecutionState, StoredEvent


@dataclass(frozen=True, slots=True)
class Execution:
    """The summary of one execution, always in step with its stored events.

    Attributes:
        fid: its id.
        username: role id of its owner.
        state: as stored; ``awaiting`` is computed by :attr:`shown_state`.
        seq: the last event's place, 0 before the first.
        started_at: timestamp of its first event, seconds (UTC).
        finished_at: timestamp of its terminal event, or None.
        changed_at: timestamp of the newest ``status``, ``final`` or ``meta`` event.
        meta: what the launch said of it (entry_point, app_url, summary, description, tags, author, …).
        inputs: the wrapped JSON text of its inputs, "" when there is none; at most ``MAX_SUMMARY_CHARS``.
        error: the last ``error`` event's text (traceback or notice), or None.
        locks: ids of open locks, oldest first.
        archived: hidden by DELETE.
    """

    fid: str
    username: str
    state: ExecutionState = ExecutionState.STARTING
    seq: int = 0
    started_at: float = 0.0
    finished_at: float | None = None
    changed_at: float = 0.0
    meta: dict[str, Any] = field(default_factory=dict)
    inputs: str = ""
    error: str | None = None
    locks: tuple[str, ...] = ()
    archived: bool = False

    @property
    def shown_state(self) -> ExecutionState:
        """The state a user sees: ``awaiting`` while a lock is open, unless the run is paused or over."""
        settled = self.state.terminal or self.state == ExecutionState.PAUSED
        return ExecutionState.AWAITING if self.locks and not settled else self.state


MAX_SUMMARY_CHARS = 65_536
"""Longest text a summary keeps of an event (the event itself is kept whole)."""


class Appended(NamedTuple):
    """What an append did.

    Attributes:
        seq: the execution's last place now.
        stored: events stored by this call.
        refused: events dropped because the execution already had its terminal event.
        state: the execution's state now.
    """

    seq: int
    stored: int
    refused: int
    state: ExecutionState


class Tally(NamedTuple):
    """How many executions there are, for figures.

    Attributes:
        living: those without a terminal state, archived ones included, by :attr:`Execution.shown_state`; no zeros.
        ended: how many ever reached each terminal state in this store; a purge takes none away. No zeros.
    """

    living: Mapping[ExecutionState, int]
    ended: Mapping[ExecutionState, int]


class ExecutionChange(NamedTuple):
    """An execution that changed, and when the store noticed.

    Attributes:
        execution: as it is now; ``archived`` says that it went away.
        modified_at: the store's clock in seconds, strictly increasing per store: the cursor of :meth:`changes`.
    """

    execution: Execution
    modified_at: float


class NoticeKind(StrEnum):
    """What a notice is about: a new lock, or how a run ended."""

    LOCK = "lock"
    FINISHED = "finished"
    ERROR = "error"


class Notice(NamedTuple):
    """An event that somebody outside is to be told of.

    Attributes:
        fid: the execution. seq: place of the event. kind: what it is about.
        tries: how often it was claimed, this time included.
        trying_s: seconds since it was claimed for the first time.
    """

    fid: str
    seq: int
    kind: NoticeKind
    tries: int
    trying_s: float

    @property
    def id(self) -> str:
        """The same for every try, and for no other notice."""
        return f"{self.fid}-{self.seq}"


RemoveFiles = Callable[[Sequence[tuple[str, str]]], Awaitable[Collection[str]]]
"""Takes pairs of a username and an execution id, and gives the ids whose files are gone."""


class ExecutionStore(Protocol):
    """Keeps executions. Every method may be called by many tasks and processes at once; none blocks the event loop.

    A store that was told to note (``notices=True``) writes a :class:`Notice` of each new lock and of the end, in the
    transaction that commits the event: whichever process dies then, the notice waits until it is settled.

    Any method raises ``StoreUnavailable`` with the reason when the store can't be used now (disk full, down);
    what was not committed then has left no trace, and calling again later is safe.
    """

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        """Commits events, their ``seq``, the summary and the last batch's position in one transaction.

        A batch at or below the stored position is dropped (it was stored before). Events after the terminal
        status event are dropped and counted as ``refused``; the position advances all the same. Batches come in
        rising order of position. An unknown ``fid`` begins an execution of ``username``; a known one keeps its owner.
        What comes for a purged one (a redelivery) is dropped: nothing is stored, nothing counted, ``seq`` is 0.
        """
        ...

    async def keep_launch(self, fid: str, username: str, launch: bytes) -> None:
        """Keeps what a durable run is started with, before anything of it is stored; the first call of a fid counts.

        Args:
            launch: opaque bytes of any size, given back by :meth:`launch`.
        """
        ...

    async def launch(self, fid: str) -> bytes:
        """What :meth:`keep_launch` was given.

        Raises:
            ExecutionNotFound: nothing is kept of it.
        """
        ...

    async def drop_launch(self, fid: str) -> None:
        """Forgets what :meth:`keep_launch` was given; idempotent. A purge of the execution does it too."""
        ...

    async def drop_lost_launches(self, before: float) -> int:
        """Forgets launches that were kept before a moment and whose execution has no event: it never began.

        Args:
            before: seconds since the epoch; long enough ago that nobody is still about to begin one.

        Returns:
            How many were forgotten.
        """
        ...

    async def events(
        self, fid: str, after: int = 0, limit: int = 1000, kinds: Collection[EventKind] | None = None
    ) -> list[StoredEvent]:
        """Events with ``seq > after`` in order, at most ``limit``, of these kinds only when given.

        What was returned here is part of every later summary: a reader of the last event finds a terminal state.

        Raises:
            ExecutionNotFound: unknown or purged (an archived one is still read).
        """
        ...

    async def last_event(self, fid: str, kind: EventKind) -> StoredEvent | None:
        """The newest event of a kind, or None.

        Raises:
            ExecutionNotFound: unknown or purged.
        """
        ...

    async def execution(self, fid: str) -> Execution:
        """The summary of one execution, archived ones included.

        Raises:
            ExecutionNotFound: unknown or purged.
        """
        ...

    async def executions(
        self,
        *,
        username: str | None = None,
        query: str = "",
        before: str | None = None,
        after: str | None = None,
        limit: int = 10,
    ) -> list[Execution]:
        """A page of executions that aren't archived, newest (highest ``fid``) first.

        Args:
            username: only this role's; None: everyone's.
            query: only those whose search text (see :func:`kodosumi.store.summary.search_text`) contains it,
                ignoring case.
            before: only ``fid`` below this one. after: only ``fid`` above this one.
            limit: rows at most.
        """
        ...

    async def count(self, *, username: str | None = None) -> int:
        """How many executions aren't archived; costs the same for ten or a million."""
        ...

    async def tally(self) -> Tally:
        """How many executions live, by state, and how many have ended; costs what the living ones cost, no more."""
        ...

    async def changes(
        self, since: float, *, username: str | None = None, query: str = "", limit: int = 100
    ) -> list[ExecutionChange]:
        """Executions with ``modified_at > since``, oldest change first; archived ones are among them.

        With a query: only matching ones, and every archived one. A purged one is told of as archived, with nothing
        but its id, owner and state, for some days.
        """
        ...

    async def live(self) -> list[Execution]:
        """Executions without a terminal state, oldest first."""
        ...

    async def archive(self, fid: str) -> None:
        """Hides an execution from lists; idempotent. Nothing is removed or renamed.

        Raises:
            ExecutionNotFound: unknown or purged.
        """
        ...

    async def purge(self, fid: str) -> None:
        """Removes an execution with its events; idempotent, unknown ids are ignored.

        Whoever calls this has removed its files: where they lie in a folder of the store's own, what is left goes too.

        Raises:
            StoreError: it has no terminal state yet.
        """
        ...

    async def expire(self, before: float, limit: int, remove_files: RemoveFiles | None = None) -> int:
        """Removes for good ended executions with ``finished_at < before``, archived or not, oldest first, in small
        steps; and what an interrupted removal left. One process at a time: 0 when another is at it.

        Args:
            before: seconds since the epoch. limit: executions at most.
            remove_files: removes the files of some of them, and says of which they are gone. Only those are removed,
                afterwards; the others stay as they are. It may be asked again for files that are gone.

        Returns:
            How many executions were removed; as many as ``limit``: there may be more.
        """
        ...

    async def archived(self, older_than: float) -> list[Execution]:
        """Archived executions whose last change is before ``older_than`` (seconds since the epoch)."""
        ...

    async def notices(self, limit: int, lease_s: float) -> list[Notice]:
        """Claims notices that are due, those first that have waited longest: nobody else gets them meanwhile.

        One that is neither settled nor deferred is due again when its lease is over. Also gives what was noted
        earlier by a store that was told to.

        Args:
            limit: notices at most. lease_s: seconds for which they are this caller's alone.
        """
        ...

    async def settle_notice(self, notice: Notice) -> None:
        """Forgets a notice; idempotent. Those of a purged execution are forgotten with it."""
        ...

    async def defer_notice(self, notice: Notice, pause_s: float) -> None:
        """Makes a notice due again in so many seconds; one that was settled meanwhile stays settled."""
        ...

    async def waiting_notices(self) -> int:
        """How many notices are not settled."""
        ...

    async def check(self) -> None:
        """Proves that the store can be written, by writing and removing something small.

        Raises:
            StoreUnavailable: it can't, with the reason.
        """
        ...

    async def close(self) -> None:
        """Releases connections and threads; idempotent."""
        ...
