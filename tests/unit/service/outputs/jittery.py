"""A store and a commit feed whose answers take turns at random, lose wake-ups and fail on demand: for races."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence

from kodosumi.error import ExecutionNotFound, StoreUnavailable, TransportUnavailable
from kodosumi.events import TERMINAL_STATES, EventKind, ExecutionState, StoredEvent
from kodosumi.store import Execution


class JitteryStore:
    """Events in lists; each read sees one moment, and gives its answer some turns of the loop later."""

    def __init__(self, seed: int = 0) -> None:
        self.kept: dict[str, list[StoredEvent]] = {}
        self.reads = 0
        self.refusals = 0
        self.down = False
        self._random = random.Random(seed)

    def add(self, fid: str, kind: EventKind, payload: str) -> None:
        """Commits one event."""
        events = self.kept.setdefault(fid, [])
        events.append(StoredEvent(len(events) + 1, kind, 1.0, payload))

    async def events(
        self, fid: str, after: int = 0, limit: int = 1000, kinds: Collection[EventKind] | None = None
    ) -> list[StoredEvent]:
        await self._turns()
        rows = self._of(fid)[after:]
        answer = [row for row in rows if kinds is None or row.kind in kinds][:limit]
        self.reads += 1
        await self._turns()
        return answer

    async def execution(self, fid: str) -> Execution:
        await self._turns()
        rows = self._of(fid)
        last = rows[-1]
        ended = last.kind == EventKind.STATUS and last.payload in TERMINAL_STATES
        state = ExecutionState(last.payload) if ended else ExecutionState.RUNNING
        answer = Execution(fid, "alice", state, seq=len(rows))
        await self._turns()
        return answer

    def _of(self, fid: str) -> Sequence[StoredEvent]:
        if self.down:
            self.refusals += 1
            raise StoreUnavailable("the disk is full")
        if not self.kept.get(fid):
            raise ExecutionNotFound(fid)
        return self.kept[fid]

    async def _turns(self) -> None:
        for _ in range(self._random.randrange(3)):
            await asyncio.sleep(0)


class Feed:
    """A commit feed in the test's hands; as a transport, it gives itself."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.down = False
        self._news = asyncio.Event()

    def commits(self) -> Feed:
        return self

    def wake(self, fid: str) -> None:
        """Tells of a commit; lost while the feed is down."""
        if not self.down:
            self.changed.add(fid)
            self._news.set()

    def break_down(self) -> None:
        """Fails until :meth:`repair`."""
        self.down = True
        self._news.set()

    def repair(self) -> None:
        """Works again; what was told meanwhile is lost."""
        self.down = False

    async def wait(self) -> frozenset[str]:
        if not self.down:
            await self._news.wait()
        self._news.clear()
        if self.down:
            raise TransportUnavailable("gone")
        changed, self.changed = frozenset(self.changed), set()
        return changed

    async def close(self) -> None:
        self.break_down()
