"""What a worker does for durable runs: it holds a call on each attempt, and puts what only the workflow knows.

The workflow decides, the pool runs. Texts of errors, inputs and answers stay on this side: what goes back into
Temporal's history are words and numbers. Trouble of Ray, the store or the transport is waited out here, so that no
attempt is lost by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import cloudpickle
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from .config import Settings
from .error import (
    ExecutionClosed,
    ExecutionNotFound,
    LaunchUnavailable,
    StoreUnavailable,
    TransportLost,
    TransportUnavailable,
)
from .events import Event, EventKind, ExecutionState, storable
from .log import about, set_fid
from .runner.spec import Attempt, AttemptEnd, AttemptOutcome, RunSpec
from .stored import StoreFollower, kept_locks
from .transport import EventProducer, Transport, connect_transport
from .workflows import BEGIN, END, EXECUTE, SETTLE, STEER, AttemptRef, AttemptResult, Steering

if TYPE_CHECKING:
    from .store import ExecutionStore

logger = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
PAUSE_S, LAST_PAUSE_S = 0.5, 5.0
"""Between two tries to reach what is away."""

END_PATIENCE_S = 60.0
"""So long the store is given to show an end that is in the transport; a lost one is the spooler's to find out."""

SEEN_PATIENCE_S = 3.0
"""So long the store is given to show an event that an earlier try may have put."""

PUT_AGAIN_S = 60.0
"""An event that the store doesn't show by then may be lost with the transport's storage, and is put again."""

STEER_PATIENCE_S = 20.0
KEPT_REASONS = 1_000
MAX_REASON = 200
LOST = AttemptOutcome(AttemptEnd.DIED, "Its process was lost.")

Answer = TypeVar("Answer")


class RunPool(Protocol):
    """What is asked of the pool, as ``DirectMode`` offers it. Any method raises ``LaunchUnavailable``."""

    async def execute(self, spec: RunSpec, again: bool = False) -> AttemptOutcome | None: ...

    async def attach(self, fid: str, number: int) -> AttemptOutcome | None: ...

    async def cancel(self, fid: str, by: str) -> bool: ...

    async def pause(self, fid: str, by: str) -> bool: ...

    async def resume(self, fid: str, by: str) -> bool: ...

    async def end(self, fid: str, username: str, reason: str) -> bool: ...

    async def figures(self) -> Any: ...


class AgentActivities:
    """The activities of one worker.

    Args:
        pool: where attempts run. store: what the runs were launched with, and what is stored of them.
        transport: towards the store.
    """

    def __init__(self, pool: RunPool, store: ExecutionStore, transport: Transport) -> None:
        self._pool = pool
        self._store = store
        self._transport = transport
        self._follower = StoreFollower(transport)
        self._reachable = False
        self._reasons: OrderedDict[tuple[str, int], str] = OrderedDict()

    @classmethod
    def from_settings(cls, settings: Settings, pool: RunPool) -> AgentActivities:
        """With the store and the transport that the settings choose."""
        from .store import connect_store

        return cls(pool, connect_store(settings), connect_transport(settings))

    @property
    def all(self) -> Sequence[Callable[..., Any]]:
        """What a Temporal worker is given."""
        return (self.execute_agent, self.begin_attempt, self.end_agent, self.steer_agent, self.settle_launch)

    async def close(self) -> None:
        """Closes store and transport; idempotent."""
        await self._follower.close()
        await self._transport.close()
        await self._store.close()

    async def reach_pool(self) -> None:
        """Returns once the pool answers: what is sent before that may get lost on its way."""
        while not self._reachable:
            await self._answered(self._pool.figures)
            self._reachable = True

    @activity.defn(name=EXECUTE)
    async def execute_agent(self, attempt: AttemptRef) -> AttemptResult:
        """Runs an attempt, or finds it at work, and returns when it's over."""
        async with _alive(attempt.fid):
            if activity.info().attempt > 1:
                # An earlier try may have begun it.
                state = await self._state(attempt.fid)
                return AttemptResult(AttemptEnd.OVER, state) if state else await self._result(attempt, None)
            try:
                state, spec, _ = await asyncio.gather(self._state(attempt.fid), self._spec(attempt), self.reach_pool())
            except asyncio.CancelledError:
                if _is_left():
                    return AttemptResult("unbegun")
                raise
            if state:
                return AttemptResult(AttemptEnd.OVER, state)
            if isinstance(spec, str):
                return await self._ended(attempt.fid, attempt.username, spec)
            return await self._result(attempt, spec)

    @activity.defn(name=BEGIN)
    async def begin_attempt(self, attempt: AttemptRef) -> AttemptResult:
        """Puts a later attempt's event, behind which nothing of an earlier one is taken, and waits until it's stored.

        So the store shows all there ever will be of the attempts before: their answers, or an end.
        """
        async with _alive(attempt.fid):
            fid, number = attempt.fid, attempt.number
            if (
                activity.info().attempt > 1
                and (seen := await self._follower.until(fid, lambda: self._seen(fid, number), SEEN_PATIENCE_S))
                is not None
            ):
                return seen
            reason = self._reasons.pop((fid, number - 1), attempt.reason)
            producer = self._transport.producer(fid, attempt.username, number)
            try:
                while await self._put(producer, _attempt_event(number, reason)):
                    seen = await self._follower.until(fid, lambda: self._seen(fid, number), PUT_AGAIN_S)
                    if seen is not None:
                        return seen
            finally:
                await producer.close()
            return AttemptResult(AttemptEnd.CLOSED, await self._stored_end(fid))

    @activity.defn(name=END)
    async def end_agent(self, end: Steering) -> str:
        """Ends a run that has no attempt any more; returns its terminal state, as far as the store shows it."""
        async with _alive(end.fid):
            return (await self._ended(end.fid, end.username, end.action)).state

    @activity.defn(name=STEER)
    async def steer_agent(self, wish: Steering) -> None:
        """Tells a run what somebody wished who can't, or couldn't, tell it himself."""
        set_fid(wish.fid)  # of this activity's task
        if wish.action == "cancel":
            if not await self._answered(lambda: self._pool.cancel(wish.fid, wish.by)):
                await self._answered(lambda: self._pool.end(wish.fid, wish.username, f"killed by {wish.by}"))
            return
        tell = self._pool.pause if wish.action == "pause" else self._pool.resume
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STEER_PATIENCE_S):
                while not await self._answered(lambda: tell(wish.fid, wish.by)):  # noqa: ASYNC110 - it begins elsewhere
                    await asyncio.sleep(PAUSE_S)

    @activity.defn(name=SETTLE)
    async def settle_launch(self, launch: Steering) -> bool:
        """Whether the store knows a run whose launch nobody confirmed; else what it was launched with is dropped."""
        set_fid(launch.fid)  # of this activity's task
        try:
            await self._answered(lambda: self._store.execution(launch.fid))
        except ExecutionNotFound:
            await self._answered(lambda: self._store.drop_launch(launch.fid))
            return False
        return True

    # attempts --------------------------------------------------------------------------------------------------------

    async def _result(self, attempt: AttemptRef, spec: RunSpec | None) -> AttemptResult:
        outcome = await self._outcome(attempt, spec)
        if outcome.end in (AttemptEnd.OVER, AttemptEnd.CLOSED):
            return AttemptResult(outcome.end, await self._stored_end(attempt.fid), ran_s=outcome.ran_s)
        self._remember(attempt, outcome.reason)
        return AttemptResult(outcome.end, reason=short(outcome), ran_s=outcome.ran_s)

    async def _outcome(self, attempt: AttemptRef, spec: RunSpec | None) -> AttemptOutcome:
        """Held until the attempt is over.

        A call that broke may have begun it. From then on it's looked for, and begun only if the pool knows that it
        wasn't.
        """
        pause_s = PAUSE_S
        while True:
            try:
                if spec is not None:
                    to_begin, spec = spec, None
                    return await self._pool.execute(to_begin) or LOST
                found = await self._pool.attach(attempt.fid, attempt.number)
                return found or await self._begun_after_all(attempt) or LOST
            except LaunchUnavailable as exc:
                logger.info("%s: attempt %d is looked for again: %s", attempt.fid, attempt.number, exc)
                self._reachable = False
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    async def _begun_after_all(self, attempt: AttemptRef) -> AttemptOutcome | None:
        """Held until an attempt is over that never reached the pool; None: it may have."""
        spec = await self._spec(attempt)
        return None if isinstance(spec, str) else await self._pool.execute(spec, True)

    async def _spec(self, attempt: AttemptRef) -> RunSpec | str:
        """What the pool is given; a text when it can't be had, which says why the run ends."""
        try:
            launch = await self._answered(lambda: self._store.launch(attempt.fid))
        except ExecutionNotFound:
            return (
                "LaunchLost: what this run was launched with isn't in the worker's store. Apps and workers must use "
                "one store: KODO_EXECUTION_DATABASE, or one KODO_EXEC_DIR on the same machine."
            )
        try:
            spec: RunSpec = cloudpickle.loads(launch)
        except Exception as exc:
            return f"LaunchLost: this version can't read what the run was launched with ({type(exc).__name__})."
        kept = await self._answered(lambda: kept_locks(self._store, attempt.fid)) if attempt.number > 1 else ()
        return replace(
            spec,
            attempt=Attempt(
                attempt.number,
                attempt.reason,
                kept,
                attempt.paused_by,
                max(attempt.limit_s - attempt.ran_s, 0.001),
                attempt.last,
                attempt.ran_s,
            ),
        )

    async def _put(self, producer: EventProducer, event: Event) -> bool:
        """Puts an event, for as long as it takes; False when nothing may follow any more."""
        while True:
            try:
                await self._answered(lambda: producer.put([event]))
            except TransportLost as exc:
                logger.warning("%s: %s", producer.fid, exc)
            except ExecutionClosed:
                return False
            else:
                return True

    def _remember(self, attempt: AttemptRef, reason: str) -> None:
        """Keeps a whole reason for the next attempt's event; when that begins elsewhere, it tells the short one."""
        self._reasons[attempt.fid, attempt.number] = reason
        if len(self._reasons) > KEPT_REASONS:
            self._reasons.popitem(last=False)

    # the store -------------------------------------------------------------------------------------------------------

    async def _state(self, fid: str) -> str:
        """The terminal state that the store shows, or ""."""
        try:
            execution = await self._answered(lambda: self._store.execution(fid))
        except ExecutionNotFound:
            return ""
        return execution.state.value if execution.state.terminal else ""

    async def _seen(self, fid: str, number: int) -> AttemptResult | None:
        """What the store shows of an attempt's beginning: its event, or an end; None when it shows neither."""
        try:
            execution = await self._store.execution(fid)
            if execution.state.terminal:
                return AttemptResult(AttemptEnd.CLOSED, execution.state)
            event = await self._store.last_event(fid, EventKind.ATTEMPT)
        except ExecutionNotFound:
            return None
        begun = event is not None and json.loads(event.payload)["dict"]["number"] >= number
        return AttemptResult("begun") if begun else None

    async def _stored_end(self, fid: str) -> str:
        """The terminal state, once the store shows it; "" when it doesn't in time. The launch isn't needed then."""

        async def read() -> ExecutionState | None:
            with contextlib.suppress(ExecutionNotFound):
                execution = await self._store.execution(fid)
                return execution.state if execution.state.terminal else None
            return None

        state = await self._follower.until(fid, read, END_PATIENCE_S)
        if state is None:
            logger.warning("%s is over, and the store doesn't show its end yet", fid)
            return ""
        with contextlib.suppress(StoreUnavailable):
            await self._store.drop_launch(fid)
        return state.value

    async def _ended(self, fid: str, username: str, reason: str) -> AttemptResult:
        await self._answered(lambda: self._pool.end(fid, username, reason))
        return AttemptResult(AttemptEnd.OVER, await self._stored_end(fid) or ExecutionState.ERROR)

    async def _answered(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """What a part answers; one that is away is asked again, for as long as it takes."""
        pause_s, told = PAUSE_S, ""
        while True:
            try:
                return await call()
            except (StoreUnavailable, TransportUnavailable, LaunchUnavailable) as exc:
                if str(exc) != told:
                    told = str(exc)
                    logger.warning("waiting: %s", told)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)


@contextlib.asynccontextmanager
async def _alive(fid: str) -> AsyncIterator[None]:
    """Tells Temporal of the activity's life, and the log its run; one that is left is to be tried elsewhere at once."""
    beating = asyncio.create_task(_beat())
    try:
        with about(fid=fid):
            yield
    except asyncio.CancelledError:
        if not _is_left():
            raise
        raise ApplicationError(
            "The worker stops, the run goes on.",
            type="WorkerStopped",
            next_retry_delay=timedelta(milliseconds=1),
            category=ApplicationErrorCategory.BENIGN,
        ) from None
    finally:
        beating.cancel()


def _is_left() -> bool:
    """Whether this activity was cancelled because its worker stops."""
    details = activity.cancellation_details()
    return details is not None and details.worker_shutdown


async def _beat() -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        activity.heartbeat()


def short(outcome: AttemptOutcome) -> str:
    """An outcome's reason without what user code put into it: the class of an exception, not its text."""
    text = outcome.reason.strip()
    if outcome.end != AttemptEnd.RAISED:
        return (text.splitlines() or [""])[0][:MAX_REASON]
    # The line behind the last frame of a traceback: "module.Error: text", and maybe more lines of that text.
    _, _, tail = text.rpartition('\n  File "')
    raised = next((line for line in tail.splitlines()[1:] if line and not line[0].isspace()), text.partition("\n")[0])
    name = raised.partition(":")[0].strip()
    return name[:MAX_REASON] if name.replace(".", "").isidentifier() else "User code raised an exception."


def _attempt_event(number: int, reason: str) -> Event:
    payload = json.dumps({"dict": {"number": number, "reason": reason}}, ensure_ascii=False)
    return Event.now(EventKind.ATTEMPT, storable(payload))
