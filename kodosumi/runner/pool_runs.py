"""The pool's book of runs: what it knows of each, what it puts into the transport for those that no process serves.

A durable run that nobody serves (announced, between attempts, just over) *rests*: it's remembered, within a bound, for
the one that sees to its next attempt. Nothing is lost with it but convenience; that one can do without.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from ..error import ExecutionClosed, LaunchUnavailable, TransportError, TransportLost
from ..events import Event, EventKind, ExecutionState
from ..log import about
from ..transport import EventProducer, Transport
from ..transport.ending import LOSS_NOTICE, put_end
from .clock import RunClock
from .kept_locks import KeptLocks
from .lock_types import OpenLock
from .process import RunnerProcess
from .spec import AttemptEnd, AttemptOutcome, RunSpec
from .tasks import BackgroundTasks

logger = logging.getLogger(__name__)

PUT_TIMEOUT_S = 10.0
"""Longest wait for the transport to take what a call brings."""

MAX_RESTING = 2_000


def _future() -> asyncio.Future[AttemptOutcome]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class Run:
    """One accepted run.

    Attributes:
        fid, user: whose it is.
        producer: of no attempt, for what its process can't put.
        spec: what to run, with the attempt it is at; None once it's over.
        durable: whether somebody else sees to its attempts.
        whole: whether no earlier pool can have begun an attempt of it.
        process: who serves it, None while nobody does.
        number: of the attempt it is at; 0: none was asked for.
        outcome: of that attempt; set when it's over.
        freed: set when its process has left it.
        retry_timer: to its next attempt, in direct mode.
        killed_by: who asked for its end. end_reason: what its end is to say, when it was ended otherwise.
        paused_by: who had it paused.
        kept: its open locks, while no process serves them.
        open_locks: of its process, as last told (durable runs only).
        ending: whether its end is on its way. over: set when that is in the transport.
        putting: held while ``producer`` puts.
    """

    fid: str
    user: str
    producer: EventProducer
    spec: RunSpec | None
    durable: bool = False
    whole: bool = False
    process: RunnerProcess | None = None
    number: int = 0
    outcome: asyncio.Future[AttemptOutcome] = field(default_factory=_future)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    retry_timer: asyncio.TimerHandle | None = None
    killed_by: str | None = None
    end_reason: str | None = None
    paused_by: str | None = None
    kept: KeptLocks | None = None
    open_locks: tuple[OpenLock, ...] = ()
    clock: RunClock | None = None
    ran_before_s: float = 0.0
    waiting_since: float = field(default_factory=time.monotonic)
    ending: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    putting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def repeats(self) -> bool:
        """Whether another process may come to serve it."""
        return self.durable or (self.spec is not None and self.spec.retry is not None)

    @property
    def ran_s(self) -> float:
        """Running time of the attempt, as far as it's known."""
        return self.ran_before_s + (0.0 if self.clock is None else self.clock.ran_s)

    @property
    def due_end(self) -> str | None:
        """What its end is to say, when somebody asked for one."""
        return f"killed by {self.killed_by}" if self.killed_by else self.end_reason

    def death_notice(self, cause: BaseException) -> str:
        """What is said when its process is gone."""
        first_line = (str(cause).splitlines() or [""])[0]
        return self.due_end or f"RunnerDied: the process of this run ended unexpectedly. {first_line}".rstrip()


class Runs:
    """All runs that the pool knows.

    Args:
        transport: for runs that are accepted from now on; replaceable.

    Attributes:
        living: those that are served or wait for their turn or their next attempt here.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.living: dict[str, Run] = {}
        self._resting: OrderedDict[str, Run] = OrderedDict()
        self._tasks = BackgroundTasks()

    def find(self, fid: str) -> Run | None:
        """A run that lives, rests, or was over not long ago."""
        return self.living.get(fid) or self._resting.get(fid)

    def unended(self, fid: str) -> Run | None:
        """A run that isn't over, as far as this pool knows."""
        run = self.find(fid)
        return None if run is None or run.over.is_set() else run

    def add(self, spec: RunSpec, producer: EventProducer | None = None) -> Run:
        """A new run, living."""
        producer = producer or self.transport.producer(spec.fid, spec.username)
        run = self.living[spec.fid] = Run(spec.fid, spec.username, producer, spec, spec.durable)
        return run

    def meet(self, fid: str, user: str) -> Run:
        """A durable run between two attempts of which nothing is known here."""
        run = Run(fid, user, self.transport.producer(fid, user), None, durable=True)
        self.rest(run, AttemptOutcome(AttemptEnd.DIED, "Its process was lost."))
        return run

    def wake(self, run: Run) -> None:
        """A resting run is to be served."""
        self._resting.pop(run.fid, None)
        self.living[run.fid] = run

    def rest(self, run: Run, outcome: AttemptOutcome | None = None) -> None:
        """Nobody serves a durable run until its next attempt.

        Args:
            outcome: of the attempt it was at; None: it hasn't had any.
        """
        self.living.pop(run.fid, None)
        run.spec = None  # it may be large, and comes again with the next attempt
        self._remember(run)
        if outcome is not None and not run.outcome.done():
            run.outcome.set_result(outcome)

    def close(self, run: Run, outcome: AttemptOutcome) -> None:
        """A run is over: its end is in the transport, or it's left to the spooler."""
        self.drop(run)
        if not run.outcome.done():
            run.outcome.set_result(outcome)
        if run.durable:
            self._remember(run)

    def drop(self, run: Run) -> None:
        """Forgets a run and lets go of what it holds."""
        self.living.pop(run.fid, None)
        self._resting.pop(run.fid, None)
        run.over.set()
        run.spec = None
        if run.retry_timer is not None:
            run.retry_timer.cancel()
        if run.kept is not None:
            run.kept.end()
            self._tasks.spawn(run.kept.close())
            run.kept = None
        self._tasks.spawn(run.producer.close())

    def _remember(self, run: Run) -> None:
        self._resting[run.fid] = run
        self._resting.move_to_end(run.fid)
        if len(self._resting) > MAX_RESTING:
            # Those with open locks stay longest: callers may want to answer them. They expire by themselves.
            forgotten = next((old for old in self._resting.values() if old.kept is None), None)
            if forgotten is not None:
                self.drop(forgotten)

    # what the pool puts ----------------------------------------------------------------------------------------------

    async def end(self, run: Run, reason: str) -> bool:
        """Gives a run its end. False: it had one, or is left to the spooler."""
        put = False
        run.ending = True
        try:
            async with run.putting:
                if run.over.is_set():
                    return False
                put = await put_end(run.producer, reason)
        except Exception:
            # Whatever it is: once nobody knows the run any more, the spooler ends it.
            with about(fid=run.fid):
                logger.exception("%s cannot be ended here", run.fid)
        finally:
            self.close(run, AttemptOutcome(AttemptEnd.OVER, reason, run.ran_s))
        return put

    async def tell(self, run: Run, state: ExecutionState) -> bool:
        """Puts a status of a run that no process serves; ``run.putting`` is held. False: it had its end, or has it now.

        Raises:
            LaunchUnavailable: the transport can't take it now.
        """
        try:
            async with asyncio.timeout(PUT_TIMEOUT_S):
                await run.producer.put([Event.now(EventKind.STATUS, state)])
        except ExecutionClosed:
            self.close(run, AttemptOutcome(AttemptEnd.CLOSED, "The execution has its end."))
            return False
        except TransportLost:
            # Nobody else would ever say that something is missing.
            run.end_reason = run.end_reason or LOSS_NOTICE
            self._tasks.spawn(self._end_as_due(run))
            return False
        except (TransportError, TimeoutError) as exc:
            raise LaunchUnavailable(f"The event transport cannot be reached: {exc}. Try again.") from exc
        return True

    async def _end_as_due(self, run: Run) -> None:
        await self.end(run, run.due_end or "")
