"""The queue behind the transports ``ray`` and ``memory``: keeps what producers put until a consumer acknowledges it.

It lives on one event loop and is never awaited for I/O; encoded events go through it unread. Semantics: ``base.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from ..events import Position
from .answers import Bounds, Outcome, PutAnswer, QueueFigures, ReaderFigures, Taken
from .commit_log import CommitLog
from .line import Accepted, Line, Parcel, Reader, Waiter
from .recollection import Recollection, Trace, Verdict

LEASE_S = 5.0
"""A consumer not heard of for so long loses the executions it reads."""

HOLD_PUT_S = 10.0
HOLD_TAKE_S = 2.0
HOLD_FEED_S = 20.0
"""Longest holds of a call; then it's asked again. What a dead caller left is gone after them."""

MAX_CLOSED = 10_000
"""Ended executions remembered, so that nothing is put after the end."""


class EventQueue:
    """One queue; make it on the loop it lives on.

    Args:
        bounds: where producers begin to wait.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.epoch = time.time_ns()
        self._bounds = bounds
        self._loop = asyncio.get_running_loop()
        self._offsets = itertools.count(1)
        self._lines: dict[str, Line] = {}
        self._bytes = 0
        self._closed: OrderedDict[str, tuple[str, Accepted]] = OrderedDict()
        self._stalled: OrderedDict[str, Line] = OrderedDict()
        self._unclaimed: OrderedDict[str, Line] = OrderedDict()
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._log = CommitLog()
        self._past = Recollection(self._is_alive)

    # putting -------------------------------------------------------------------------------------------------------

    async def put(
        self,
        fid: str,
        username: str,
        producer: str,
        seq: int,
        past: Position | None,
        shared: bool,
        uncertain: bool,
        count: int,
        ends: bool,
        wire: bytes,
        attempt: int | None = None,
    ) -> PutAnswer:
        """Takes a batch, waits for room with it, or says why not.

        Args:
            producer: its id. seq: its number for this batch; the same number again is the same batch.
            past: where its last accepted batch lies. shared: as it was told in its last answer.
            uncertain: an earlier try may have reached a queue that died since.
            count: events in the batch. ends: whether the terminal event is among them. wire: the encoded events.
            attempt: that the producer speaks for; None: none.
        """
        self._withdraw(fid, producer)
        answer = self._known(fid, producer, seq)
        if answer is not None:
            return answer
        verdict = Verdict.KEPT
        if past.epoch != self.epoch if past is not None else uncertain:
            verdict = await self._past.verdict(fid, producer, seq, past, shared, HOLD_PUT_S)
            if verdict is Verdict.TAKEN:
                return PutAnswer(Outcome.TAKEN, self.epoch)
            answer = self._known(fid, producer, seq)
            if answer is not None:
                return answer
        # Before LOST: whoever hears that ends the execution, which is no longer the business of an earlier attempt.
        if attempt is not None and verdict is not Verdict.UNDECIDED and self._overtaken(fid, attempt):
            return PutAnswer(Outcome.OVERTAKEN, self.epoch)
        if verdict is not Verdict.KEPT:
            return PutAnswer(_OUTCOMES[verdict], self.epoch)
        line = self._lines.get(fid)
        if line is None:
            line = self._lines[fid] = Line(fid, username, attempt=self._past.attempt(fid))
        if attempt is not None:
            self._shut_out(line, attempt)
        if not line.waiters and self._fits(line, count):
            return self._accept(line, producer, seq, count, ends, wire)
        waiter = Waiter(producer, seq, count, ends, wire, attempt, self._loop.create_future())
        return await self._wait_for_room(line, waiter)

    def _known(self, fid: str, producer: str, seq: int) -> PutAnswer | None:
        """The answer for a batch that was taken before, or for an execution that has its end."""
        line = self._lines.get(fid)
        accepted = line.producers.get(producer) if line else None
        if accepted is None and fid in self._closed:
            closer, closing = self._closed[fid]
            accepted = closing if closer == producer else None
        if accepted is not None and accepted.seq >= seq:
            shared = line is not None and line.shared_by(producer)
            return PutAnswer(Outcome.TAKEN, self.epoch, accepted.offset, shared)
        return PutAnswer(Outcome.CLOSED, self.epoch) if fid in self._closed else None

    def _overtaken(self, fid: str, attempt: int) -> bool:
        """Whether a later attempt is known of, be it from before a restart."""
        line = self._lines.get(fid)
        return attempt < (line.attempt if line is not None else self._past.attempt(fid))

    def _shut_out(self, line: Line, attempt: int) -> None:
        """Notes an attempt and refuses what earlier ones wait with: nothing of theirs may come after it."""
        if attempt <= line.attempt:
            return
        line.attempt = attempt
        late = [waiter for waiter in line.waiters if waiter.attempt is not None and waiter.attempt < attempt]
        for waiter in late:
            line.waiters.remove(waiter)
            if not waiter.granted.done():
                waiter.granted.set_result(PutAnswer(Outcome.OVERTAKEN, self.epoch))
        if late:
            # Those behind them may fit.
            self._grant(line)

    def _withdraw(self, fid: str, producer: str) -> None:
        """Ends an earlier put of a producer that waits here: its caller is gone, or asks again."""
        line = self._lines.get(fid)
        for waiter in list(line.waiters) if line else ():
            if waiter.producer == producer:
                waiter.granted.cancel()

    async def _wait_for_room(self, line: Line, waiter: Waiter) -> PutAnswer:
        line.waiters.append(waiter)
        self._stalled[line.fid] = line
        try:
            async with asyncio.timeout(HOLD_PUT_S):
                return await waiter.granted
        except (TimeoutError, asyncio.CancelledError):
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return PutAnswer(Outcome.AGAIN, self.epoch)
        finally:
            if waiter in line.waiters:
                line.waiters.remove(waiter)
                # Those behind it may fit.
                self._grant(line)
                self._tidy(line)

    def _fits(self, line: Line, count: int) -> bool:
        if self._bytes >= self._bounds.max_bytes:
            return False
        return line.events == 0 or line.events + count <= self._bounds.max_events

    def _accept(self, line: Line, producer: str, seq: int, count: int, ends: bool, wire: bytes) -> PutAnswer:
        offset = next(self._offsets)
        line.add(Parcel(offset, count, wire, ends, producer, seq, self._loop.time()))
        self._bytes += len(wire)
        if ends:
            self._closed[line.fid] = (producer, Accepted(seq, offset))
            if len(self._closed) > MAX_CLOSED:
                self._closed.popitem(last=False)
        self._offer(line)
        return PutAnswer(Outcome.TAKEN, self.epoch, offset, line.shared_by(producer))

    def _grant(self, line: Line) -> None:
        """Accepts a line's waiting puts as far as there's room; refuses them after its end."""
        while line.waiters and (line.closed or self._fits(line, line.waiters[0].count)):
            waiter = line.waiters.popleft()
            if waiter.granted.done():
                continue
            if line.closed:
                waiter.granted.set_result(PutAnswer(Outcome.CLOSED, self.epoch))
                continue
            accepted = self._accept(line, waiter.producer, waiter.seq, waiter.count, waiter.ends, waiter.wire)
            waiter.granted.set_result(accepted)
        if not line.waiters:
            self._stalled.pop(line.fid, None)

    def _grant_all(self) -> None:
        """Shares the room that came free in a full queue: lines take turns."""
        for _ in range(len(self._stalled)):
            if self._bytes >= self._bounds.max_bytes:
                return
            fid, line = next(iter(self._stalled.items()))
            self._stalled.move_to_end(fid)
            self._grant(line)

    # taking --------------------------------------------------------------------------------------------------------

    async def take(self, consumer: str, epoch: int, max_events: int, wait_s: float) -> tuple[int, list[Taken] | None]:
        """What waits, as soon as something does; None for a consumer that must tell first what it remembers.

        Args:
            consumer: its id. epoch: of the queue it spoke to last; 0: none.
            max_events: events at most; one larger parcel alone is given all the same.
            wait_s: seconds to wait at most, cut to :data:`HOLD_TAKE_S`.
        """
        if epoch not in (0, self.epoch):
            return self.epoch, None
        reader = self._heard(consumer)
        self._expire()
        end = self._loop.time() + min(wait_s, HOLD_TAKE_S)
        reader.calls += 1
        try:
            while not reader.gone:
                reader.wake.clear()
                taken = self._collect(reader, max_events)
                if taken or self._loop.time() >= end:
                    return self.epoch, taken
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(end):
                        await reader.wake.wait()
            return self.epoch, []
        finally:
            reader.calls -= 1
            reader.heard_at = self._loop.time()

    def tell(self, consumer: str, traces: Mapping[str, Trace]) -> int:
        """Takes in what a consumer remembers of this queue's predecessor; returns the epoch."""
        self._heard(consumer)
        self._past.tell(consumer, traces)
        for fid, trace in traces.items():
            line = self._lines.get(fid)
            if line is not None:
                self._shut_out(line, trace.attempt)
                self._tidy(line)
        return self.epoch

    def ack(self, consumer: str, positions: Sequence[tuple[str, int, int]]) -> None:
        """Forgets parcels up to ``(fid, epoch, offset)`` each, lets waiting producers in and wakes the feeds."""
        reader = self._heard(consumer)
        if positions:
            reader.acked_at = time.time()
        was_full = self._bytes >= self._bounds.max_bytes
        for fid, epoch, offset in positions:
            if epoch != self.epoch:
                self._past.acked(fid, Position(epoch, offset))
                continue
            line = self._lines.get(fid)
            if line is None:
                continue
            self._bytes -= line.drop_until(offset)
            if line.waiters:
                self._grant(line)
            self._tidy(line)
        if was_full:
            self._grant_all()
        if positions:
            self._log.note((fid for fid, _, _ in positions), self._loop.time())

    def release(self, consumer: str, fid: str) -> None:
        """Takes an execution back from a consumer."""
        reader = self._heard(consumer)
        line = reader.lines.get(fid)
        if line is not None:
            line.give_back()
            self._offer(line)

    def leave(self, consumer: str) -> None:
        """Takes everything back from a consumer and forgets it."""
        reader = self._readers.pop(consumer, None)
        if reader is not None:
            self._dismiss(reader)

    def _heard(self, consumer: str) -> Reader:
        reader = self._readers.get(consumer)
        if reader is None:
            reader = self._readers[consumer] = Reader(consumer, self._loop.time())
        reader.heard_at = self._loop.time()
        return reader

    def _is_alive(self, consumer: str) -> bool:
        reader = self._readers.get(consumer)
        return reader is not None and reader.alive(self._loop.time(), LEASE_S)

    def _expire(self) -> None:
        for consumer in [name for name in self._readers if not self._is_alive(name)]:
            self._dismiss(self._readers.pop(consumer))

    def _dismiss(self, reader: Reader) -> None:
        reader.gone = True
        reader.wake.set()
        for line in list(reader.lines.values()):
            line.give_back()
            self._offer(line)
        self._past.stir()

    def _offer(self, line: Line) -> None:
        """Makes known that a line has something to give: to its reader, else to whoever waits."""
        if not line.waiting:
            return
        if line.reader is not None:
            line.reader.ready[line.fid] = line
            line.reader.wake.set()
            return
        self._unclaimed[line.fid] = line
        for consumer, reader in self._readers.items():
            if reader.calls and not reader.wake.is_set():
                reader.wake.set()
                # The next one's turn is next time.
                self._readers.move_to_end(consumer)
                return

    def _collect(self, reader: Reader, max_events: int) -> list[Taken]:
        """Parcels for a reader, one from each line in turn, its own lines and unclaimed ones alike."""
        taken: dict[str, Taken] = {}
        left = max_events
        for turn in itertools.count():
            line = self._next_line(reader, turn)
            if line is None:
                break
            parcel = line.waiting[0]
            if taken and parcel.events > left:
                reader.ready[line.fid] = line
                reader.ready.move_to_end(line.fid, last=False)
                break
            line.held.append(line.waiting.popleft())
            left -= parcel.events
            if line.fid not in taken:
                taken[line.fid] = Taken(line.fid, line.username, [], line.attempt)
            taken[line.fid].parcels.append((parcel.offset, parcel.wire, parcel.producer, parcel.seq))
            if line.waiting:
                reader.ready[line.fid] = line
            if left <= 0:
                break
        return list(taken.values())

    def _next_line(self, reader: Reader, turn: int) -> Line | None:
        if self._unclaimed and (turn % 2 == 0 or not reader.ready):
            _, line = self._unclaimed.popitem(last=False)
            line.reader = reader
            reader.lines[line.fid] = line
            return line
        return reader.ready.popitem(last=False)[1] if reader.ready else None

    def _tidy(self, line: Line) -> None:
        """Frees a line from its reader when all is committed, and forgets it when nothing can follow."""
        if not line.waiting:
            self._unclaimed.pop(line.fid, None)
            if line.reader is not None:
                line.reader.ready.pop(line.fid, None)
        if line.oldest is None:
            line.give_back()
            if not line.waiters and (line.closed or not line.producers):
                self._lines.pop(line.fid, None)

    # telling -------------------------------------------------------------------------------------------------------

    async def commits(self, epoch: int, cursor: int, age_s: float, wait_s: float) -> tuple[int, int, list[str], bool]:
        """What was acknowledged: ``(epoch, cursor, fids, complete)``.

        Args:
            epoch: of the queue the cursor is from; 0: the feed begins, and ``age_s`` says how long ago it was made.
            cursor: from the last answer. wait_s: seconds to wait for something, cut to :data:`HOLD_FEED_S`.
        """
        if epoch == 0:
            cursor = self._log.begin(self._loop.time() - age_s)
        elif epoch != self.epoch:
            return self.epoch, 0, [], False
        return self.epoch, *await self._log.read(cursor, min(wait_s, HOLD_FEED_S))

    def status(self) -> QueueFigures:
        """Figures of now."""
        self._expire()
        lines = self._lines.values()
        waiting_producers = sum(len(line.waiters) for line in lines)
        readers = [self._figures(reader) for reader in self._readers.values()]
        return QueueFigures(sum(line.events for line in lines), self._oldest_s(lines), waiting_producers, readers)

    def _figures(self, reader: Reader) -> ReaderFigures:
        lines = reader.lines.values()
        lag_events = sum(line.events for line in lines)
        return ReaderFigures(reader.id, len(lines), lag_events, self._oldest_s(lines), reader.acked_at)

    def _oldest_s(self, lines: Iterable[Line]) -> float:
        oldest = (line.oldest for line in lines)
        return max((self._loop.time() - parcel.accepted_at for parcel in oldest if parcel is not None), default=0.0)


_OUTCOMES = {Verdict.LOST: Outcome.LOST, Verdict.UNDECIDED: Outcome.AGAIN}
