"""One execution as followed by one panel process: a reader of its new events, a bounded ring, and its viewers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from ..error import ExecutionNotFound
from ..events import TERMINAL_STATES, EventKind, StoredEvent
from ..log import outliving
from ..store import ExecutionStore
from .sse import Frame, encode

logger = logging.getLogger(__name__)

RING_EVENTS = 2_000
RING_BYTES = 4_194_304
CHUNK_BYTES = 262_144
PAGE_EVENTS = 1_000
PAGE_CHARS = 1_048_576
RETRY_S = 1.0


@dataclass(eq=False)
class Viewer:
    """One open stream: a place and what it wants to see, nothing that could grow.

    Attributes:
        after: the last ``seq`` it has passed.
        kinds: kinds it wants, None for all.
        converted: whether payloads are converted.
        signal: set when there may be something to do.
        idle: nothing was sent since the last beat. beat: an ``alive`` comment is due.
        page: events to ask the store for, so that a page stays small whatever the payloads.
        live_after: the last ``seq`` there was when it came; what lies behind is new to it and to everybody.
        oldest_at: timestamp of the first event of its last chunk, None when that isn't a new one.
    """

    after: int
    kinds: frozenset[EventKind] | None
    converted: bool
    signal: asyncio.Event = field(default_factory=asyncio.Event)
    idle: bool = True
    beat: bool = False
    page: int = 64
    live_after: int = 0
    oldest_at: float | None = None

    def wants(self, frame: Frame) -> bool:
        """Whether its stream has this kind."""
        return self.kinds is None or frame.event.kind in self.kinds


class Follower:
    """Reads an execution's new events once per wake-up, for all its viewers.

    Attributes:
        fid: the execution.
        dirty: set it to say that there may be new events.
        viewers: who watches.
        seq: the last place read. ended: whether nothing can follow it.
    """

    def __init__(self, fid: str, store: ExecutionStore) -> None:
        self.fid = fid
        self.dirty = asyncio.Event()
        self.viewers: set[Viewer] = set()
        self.seq = 0
        self.ended = False
        self._store = store
        self._ring: dict[int, Frame] = {}
        self._ring_bytes = 0
        self._page = 64
        self._known = asyncio.Event()
        self._reads_begun = 0
        self._read_done = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow from the execution's present end; what lies before is the viewers' own to read."""
        self._task = asyncio.create_task(self._run(), name=f"follow {self.fid}", context=outliving(self.fid))

    async def close(self) -> None:
        """Stops reading and lets the viewers end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._ring.clear()
        self.wake_viewers()

    def wake_viewers(self) -> None:
        """Makes every viewer look again."""
        self._known.set()
        for viewer in self.viewers:
            viewer.signal.set()

    def beat(self) -> None:
        """Has the viewers that were idle since the last beat send an ``alive`` comment."""
        for viewer in self.viewers:
            if viewer.idle:
                viewer.beat = True
                viewer.signal.set()
            viewer.idle = True

    async def catch_up(self, viewer: Viewer) -> None:
        """Waits until the execution's end is known, and takes a place that can't be as the beginning.

        A place beyond the end may come from another panel process that is ahead of this one: read once more first.
        """
        await self._known.wait()
        if viewer.after > self.seq and not self.ended:
            # a read that is under way may have looked before the place was given: wait for one that begins now
            begun = self._reads_begun
            self.dirty.set()
            while self._read_done <= begun and not self.ended and self._task is not None and not self._task.done():
                viewer.signal.clear()
                await viewer.signal.wait()
        if viewer.after > self.seq:
            viewer.after = 0
        viewer.live_after = self.seq

    async def next_chunk(self, viewer: Viewer) -> bytes | None:
        """What the viewer gets next; empty when its kinds have nothing there; None when it has all there is.

        Raises:
            StoreUnavailable, ExecutionNotFound: from reading what the ring no longer has.
        """
        if viewer.after >= self.seq:
            return None
        if viewer.after + 1 in self._ring:
            frames, last = self._from_ring(viewer)
        else:
            frames, last = await self._from_store(viewer)
        chunk = b"".join(await encode(frames, viewer.converted, self.fid))
        viewer.after = max(viewer.after, last)
        first = frames[0].event if frames else None
        viewer.oldest_at = first.timestamp if first is not None and first.seq > viewer.live_after else None
        return chunk

    def _from_ring(self, viewer: Viewer) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        size = 0
        seq = viewer.after
        while size < CHUNK_BYTES and (frame := self._ring.get(seq + 1)) is not None:
            seq += 1
            if viewer.wants(frame):
                frames.append(frame)
                size += len(frame.event.payload) + 64
        return frames, seq

    async def _from_store(self, viewer: Viewer) -> tuple[list[Frame], int]:
        end = self.seq
        events = await self._store.events(self.fid, viewer.after, viewer.page, viewer.kinds)
        # a short page means that no wanted kind is left up to what was committed before the read
        last = events[-1].seq if events else viewer.after
        if len(events) < viewer.page:
            last = max(last, end)
        viewer.page = _next_page(viewer.page, events)
        return [Frame(event) for event in events], last

    async def _run(self) -> None:
        self.dirty.set()
        while not self.ended:
            await self.dirty.wait()
            self.dirty.clear()
            self._reads_begun += 1
            try:
                await self._read()
            except ExecutionNotFound:
                self.ended = True  # purged while it was watched
            except Exception as exc:
                logger.warning("execution %s cannot be followed now, trying again: %s", self.fid, exc)
                self.dirty.set()
                await asyncio.sleep(RETRY_S)
            else:
                self._read_done = self._reads_begun
                self.wake_viewers()
        self.wake_viewers()

    async def _read(self) -> None:
        if not self._known.is_set():
            execution = await self._store.execution(self.fid)
            self.seq, self.ended = execution.seq, execution.state.terminal
            return
        more = True
        while more and not self.ended:
            events = await self._store.events(self.fid, self.seq, self._page)
            more = len(events) == self._page
            self._page = _next_page(self._page, events)
            await self._take(events)

    async def _take(self, events: list[StoredEvent]) -> None:
        frames = [Frame(event) for event in events]
        for converted in {viewer.converted for viewer in self.viewers}:
            wanted = [frame for frame in frames if self._is_wanted(frame, converted)]
            await encode(wanted, converted, self.fid)
        for frame in frames:
            self._ring[frame.event.seq] = frame
            frame.counted_bytes = frame.size_bytes
            self._ring_bytes += frame.counted_bytes
            if frame.event.kind == EventKind.STATUS and frame.event.payload in TERMINAL_STATES:
                self.ended = True
        self._shrink()
        if frames:
            self.seq = frames[-1].event.seq
            self.wake_viewers()

    def _is_wanted(self, frame: Frame, converted: bool) -> bool:
        return any(viewer.converted == converted and viewer.wants(frame) for viewer in self.viewers)

    def _shrink(self) -> None:
        """Drops the oldest frames, but never the newest: however large, it is what all viewers read now."""
        while len(self._ring) > RING_EVENTS or (self._ring_bytes > RING_BYTES and len(self._ring) > 1):
            oldest = self._ring.pop(next(iter(self._ring)))
            self._ring_bytes -= oldest.counted_bytes


def _next_page(page: int, events: list[StoredEvent]) -> int:
    """How many events to ask for next, so that a page holds about ``PAGE_CHARS``."""
    chars = sum(len(event.payload) for event in events)
    if chars > PAGE_CHARS:
        return max(1, page // 4)
    return min(PAGE_EVENTS, page * 2) if len(events) == page and chars < PAGE_CHARS // 2 else page
