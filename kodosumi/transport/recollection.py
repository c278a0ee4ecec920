"""What consumers remember of a queue that died: it tells whether a producer lost anything.

A restarted queue is empty. Whatever was acknowledged before is safe in the store, and what a consumer holds will be;
only the consumers know. They tell the new queue, and a producer that comes with a position of the old queue gets its
answer from that: nothing lost, or :class:`~kodosumi.error.TransportLost`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..events import Position

MAX_EXECUTIONS = 20_000
MAX_PRODUCERS = 256
RECALL_S = 5.0
"""Consumers are back this long after a restart, or what they held is taken for lost."""

NOWHERE = Position(0, 0)


@dataclass(slots=True)
class Trace:
    """What one consumer knows of one execution.

    Attributes:
        acked: up to where it was committed. held: up to where it was taken.
        producers: by producer id the last batch taken: its number and position.
        attempt: the highest that is known to have put something, 0 when none has.
    """

    acked: Position = NOWHERE
    held: Position = NOWHERE
    producers: OrderedDict[str, tuple[int, Position]] = field(default_factory=OrderedDict)
    attempt: int = 0


class Memory:
    """A consumer's side: the traces of the executions it read lately, bounded."""

    def __init__(self) -> None:
        self.traces: OrderedDict[str, Trace] = OrderedDict()

    def taken(self, fid: str, position: Position, producer: str, seq: int, attempt: int = 0) -> None:
        """Notes a batch that was taken, and the highest attempt known by then."""
        trace = self._trace(fid)
        trace.held = max(trace.held, position)
        if attempt > trace.attempt:
            trace.attempt = attempt
        trace.producers[producer] = (seq, position)
        if len(trace.producers) > MAX_PRODUCERS:
            trace.producers.popitem(last=False)

    def acked(self, fid: str, position: Position) -> None:
        """Notes a commit."""
        trace = self._trace(fid)
        trace.acked = max(trace.acked, position)

    def _trace(self, fid: str) -> Trace:
        trace = self.traces.get(fid)
        if trace is None:
            trace = self.traces[fid] = Trace()
            if len(self.traces) > MAX_EXECUTIONS:
                self.traces.popitem(last=False)
        return trace


class Verdict(StrEnum):
    """What became of what a producer had put before the restart."""

    KEPT = "kept"
    TAKEN = "taken"
    LOST = "lost"
    UNDECIDED = "undecided"


class Recollection:
    """The new queue's side.

    Args:
        alive: whether a consumer's lease holds.
    """

    def __init__(self, alive: Callable[[str], bool]) -> None:
        self._alive = alive
        self._traces: OrderedDict[str, tuple[str, Trace]] = OrderedDict()
        self._told = False
        self._changed = asyncio.Event()
        self._deadline = asyncio.get_running_loop().time() + RECALL_S

    def tell(self, consumer: str, traces: Mapping[str, Trace]) -> None:
        """Takes in what a consumer remembers."""
        for fid, trace in traces.items():
            known = self._traces.get(fid)
            if known is not None:
                trace.attempt = known[1].attempt = max(trace.attempt, known[1].attempt)
            if known is None or max(trace.acked, trace.held) >= max(known[1].acked, known[1].held):
                if known is not None:
                    trace.acked = max(trace.acked, known[1].acked)
                self._traces[fid] = (consumer, trace)
        while len(self._traces) > MAX_EXECUTIONS:
            self._traces.popitem(last=False)
        self._told = True
        self.stir()

    def acked(self, fid: str, position: Position) -> None:
        """Notes a commit of something taken from the dead queue."""
        _, trace = self._traces.setdefault(fid, ("", Trace()))
        trace.acked = max(trace.acked, position)
        self.stir()

    def attempt(self, fid: str) -> int:
        """The highest attempt that a consumer has heard of, 0 when none has."""
        known = self._traces.get(fid)
        return known[1].attempt if known is not None else 0

    def stir(self) -> None:
        """Has waiting verdicts look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def verdict(
        self, fid: str, producer: str, seq: int, past: Position | None, shared: bool, wait_s: float
    ) -> Verdict:
        """What became of a producer's batches.

        Args:
            seq: the number of the batch it brings now. past: where its last accepted one was; None: never any.
            shared: others may have put later ones that this producer doesn't know of.
            wait_s: answers UNDECIDED after this many seconds at the latest.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        while True:
            # Taken before looking, so that no change is missed.
            changed = self._changed
            verdict = self._verdict_now(fid, producer, seq, past, shared, loop.time() >= self._deadline)
            if verdict is not Verdict.UNDECIDED or loop.time() >= end:
                return verdict
            pause_s = min(end, max(self._deadline, loop.time() + 1.0)) - loop.time()
            try:
                async with asyncio.timeout(pause_s):
                    await changed.wait()
            except TimeoutError:
                continue

    def _verdict_now(
        self, fid: str, producer: str, seq: int, past: Position | None, shared: bool, late: bool
    ) -> Verdict:
        consumer, trace = self._traces.get(fid, ("", Trace()))
        last_seq, place = trace.producers.get(producer, (0, NOWHERE))
        target = max(past or NOWHERE, place)
        taken = last_seq >= seq
        if past is not None and shared:
            # A producer that is gone may have put more than anyone can tell of.
            return Verdict.LOST
        if target > NOWHERE and trace.acked >= target:
            return Verdict.TAKEN if taken else Verdict.KEPT
        if target == NOWHERE:
            return Verdict.KEPT if late or self._told else Verdict.UNDECIDED
        if trace.held >= target and self._alive(consumer):
            return Verdict.UNDECIDED
        return Verdict.LOST if late else Verdict.UNDECIDED
