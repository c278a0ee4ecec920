"""One run, from ``running`` to its terminal event: user code, capture and mailbox brought together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from ..error import ExecutionClosed, PayloadTooLarge
from ..events import Event, EventKind, ExecutionState
from ..transport import ProducerTicket
from ..transport.ending import LOSS_NOTICE
from .capture import Capture
from .clock import RunClock
from .control import RunControl
from .files.downloads import remove_downloads
from .lock_types import BUSY, CANCELLED, PASSED, LockOutcome, LockRequest, OpenLock
from .locks import MAX_REMOTE_WAITS, Locks
from .mailbox import open_mailbox
from .run_events import attempt_event, error_end, shortened, upload_events
from .spec import AttemptEnd, CurrentRun, KeptLock, RunSpec
from .state import Sources, Surroundings, threads_left
from .tracer import RunHome, Tracer, check_size
from .usercode import Outcome, UserCode

GRACE_S = 5.0
"""Time for user code to clean up after a cancel."""

MAX_FAILURE_CHARS = 4_000
"""Longest text for the next attempt's reason, likewise: it's kept where the waiting for that attempt is."""


class RunOutcome(NamedTuple):
    """How an attempt ended, and what becomes of its process.

    Attributes:
        state: ``finished`` or ``error``; ``running`` when it's to be called again.
        reusable: whether the process may serve another run.
        reason: why not, "" when it may.
        end: how it ended: ``OVER``, ``RAISED`` or ``CLOSED``.
        failure: of one that ``RAISED``: the traceback's text, shortened.
        ran_s: running time, in seconds.
        kept: of one that ``RAISED``: what the next attempt takes over.
    """

    state: ExecutionState
    reusable: bool
    reason: str
    end: AttemptEnd = AttemptEnd.OVER
    failure: str = ""
    ran_s: float = 0.0
    kept: tuple[KeptLock, ...] = ()


class TellWaiting(Protocol):
    """Tells the pool whether a run waits for a lock and, of a durable run, which locks are open."""

    def __call__(self, fid: str, waiting: bool, *open_locks: tuple[OpenLock, ...]) -> None: ...


class Run:
    """One attempt of a run in this process.

    Args:
        spec: what to run. ticket: where its events go. sources: of the process, extended by what the run imports.
        runner: name of this process's actor, "" without one.
        lock_expires_s: seconds until a lock expires that names no timeout.
        tell_waiting: told of changes.

    Attributes:
        fid: of the run. attempt: which it is.
        locks: of this run.
    """

    def __init__(
        self,
        spec: RunSpec,
        ticket: ProducerTicket,
        sources: Sources,
        *,
        runner: str,
        lock_expires_s: float,
        tell_waiting: TellWaiting,
    ) -> None:
        self.fid = spec.fid
        self.attempt = spec.attempt
        self._spec = spec
        self._sources = sources
        if spec.durable or spec.retry is not None:
            # What a thread or a task of an earlier attempt still tells must not mix with this one's.
            ticket = replace(ticket, attempt=spec.attempt.number)
        self._mailbox = open_mailbox(ticket)
        self._max_bytes = ticket.max_event_bytes
        self._control = RunControl(spec.fid, spec.attempt.number)
        self._home = RunHome(runner, spec.files, spec.attempt.number)
        self._clock = RunClock(spec.attempt.time_limit_s, self._limit_reached)
        self._tell_waiting = tell_waiting
        self._telling = False
        self.locks = self._control.locks = Locks(
            spec.fid,
            spec.username,
            self._mailbox,
            names=spec.locks,
            expires_s=lock_expires_s,
            max_bytes=self._max_bytes,
            on_waiting=self._on_waiting,
            on_change=self._on_open_locks if spec.durable else None,
            keeps=spec.retry is not None,
        )
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._over = False
        self._paused_by: str | None = None
        self._notice: str | None = None
        self._held = 0
        self._user: UserCode | None = None
        self._surroundings: Surroundings | None = None
        self._threads = threading.enumerate()
        if spec.attempt.paused_by is not None:
            self._pause(spec.attempt.paused_by)

    @property
    def ticket(self) -> ProducerTicket:
        """Lets another process end this run."""
        return self._mailbox.ticket

    @property
    def current(self) -> CurrentRun:
        """How it stands."""
        open_locks = self.locks.open_locks if self._spec.durable else ()
        return CurrentRun(self._spec, self.ticket, self.locks.waiting, open_locks, self._paused_by, self._clock.ran_s)

    def cancel(self, by: str) -> None:
        """Asks for the end; the first who asks is named. No effect once user code is over."""
        self._ask_to_end(f"killed by {by}")

    async def pause(self, by: str) -> bool:
        """As :meth:`Runner.pause` says."""
        if self._over or self._control.cancelled:
            return False
        if self._paused_by is None:
            self._pause(by)
            self._mailbox.post_now([Event.now(EventKind.STATUS, ExecutionState.PAUSED)])
        return await self._shipped()

    async def resume(self, by: str) -> bool:
        """As :meth:`Runner.resume` says."""
        if self._over or self._control.cancelled:
            return False
        if self._paused_by is not None:
            self._paused_by = None
            # First: so it comes before whatever is told by those who go on.
            self._mailbox.post_now([Event.now(EventKind.STATUS, ExecutionState.RUNNING)])
            self._clock.hold("paused", False)
            self._control.resume()
        return await self._shipped()

    async def checkpoint(self) -> LockOutcome:
        """Holds a remote task's call while the run is paused."""
        if self._control.paused and not self._control.cancelled:
            if self._held >= MAX_REMOTE_WAITS:
                return BUSY
            self._held += 1
            try:
                await self._control.hold()
            finally:
                self._held -= 1
        return CANCELLED if self._control.cancelled or self._over else PASSED

    async def wait_for_remote(self, request: LockRequest) -> LockOutcome:
        """Opens a lock for a remote task, which holds this call; not while the run is paused, nor answers then."""
        held = await self.checkpoint()
        if held is not PASSED:
            return held
        outcome = await self.locks.wait_for_remote(request)
        held = await self.checkpoint()
        return outcome if held is PASSED else held

    async def serve(self) -> RunOutcome:
        """Runs the user's code; returns when all it told is in the transport.

        Raises:
            Exception: what the transport failed with, when the end could not be put.
        """
        self._mailbox.on_failure = self._on_transport_failure
        self._mailbox.post_now(self._first_events())
        self.locks.reopen(self.attempt.kept)
        try:
            restored = await self._call() if await self._may_begin() else True
            self._finish()
            return await self._ended(restored)
        except ExecutionClosed:
            reason = "the execution was ended elsewhere"
            return RunOutcome(ExecutionState.ERROR, False, reason, AttemptEnd.CLOSED, ran_s=self._clock.ran_s)
        finally:
            self._finish()
            await self._mailbox.close()

    # the beginning ---------------------------------------------------------------------------------------------------

    def _first_events(self) -> list[Event]:
        state = ExecutionState.RUNNING if self._paused_by is None else ExecutionState.PAUSED
        status = Event.now(EventKind.STATUS, state)
        if self.attempt.number == 1:
            return [status, *upload_events(self._spec.uploads)]
        # A durable run's attempt was told by whoever made sure that the one before is over.
        return [status] if self._spec.durable else [attempt_event(self.attempt), status]

    async def _may_begin(self) -> bool:
        """Whether user code is to be called: not before a pause's end; of a durable run, if its events are taken.

        Raises:
            ExecutionClosed: nothing is taken from this attempt. Exception: what the transport failed with.
        """
        if self._spec.durable:
            # What is taken from this attempt is proof that nothing of an earlier one is taken any more.
            await self._first_of(self._mailbox.shipped())
        if self._control.paused:
            await self._first_of(self._control.hold())
        return not self._stopping.is_set()

    async def _first_of(self, work: Coroutine[Any, Any, None]) -> None:
        """Waits for the work's end, or until the run is asked to end."""
        working, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if working.done():
            working.result()
        working.cancel()

    async def _call(self) -> bool:
        """Calls user code under capture; True when the process's streams are as they were."""
        self._control.begin()
        capture = Capture(self._mailbox, self._max_bytes)
        try:
            tracer = Tracer(self._mailbox.ticket, self._home, control=self._control)
            self._user = UserCode(self._spec, tracer, self._control, self._imported, self._leaving(capture))
            self._user.start()
            self._clock.start()
            await self._user_over(self._user)
        finally:
            self.locks.end()
            restored = capture.end()
            self._control.end()
        return restored

    def _leaving(self, capture: Capture) -> Callable[[], None]:
        """What user code's thread does last."""

        def leave() -> None:
            capture.flush()
            remove_downloads(self.fid)

        return leave

    async def _user_over(self, user: UserCode) -> None:
        """Returns when user code has ended, or had its time to."""
        stop = asyncio.ensure_future(self._stopping.wait())
        first: set[asyncio.Future[Any]] = {user.done, stop}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not user.done.done():
            await asyncio.wait({user.done}, timeout=GRACE_S)

    def _imported(self) -> None:
        self._sources.record()
        self._surroundings = Surroundings()

    # asked for from outside ------------------------------------------------------------------------------------------

    def _pause(self, by: str) -> None:
        self._paused_by = by
        self._clock.hold("paused", True)
        self._control.pause()

    async def _shipped(self) -> bool:
        """Returns when what was told is in the transport; False when it isn't taken."""
        try:
            await self._mailbox.shipped()
        except ExecutionClosed:
            return False
        return True

    def _ask_to_end(self, notice: str) -> None:
        if self._notice is None and self._tell_user():
            self._notice = notice
            # After user code was told: who waits for a lock hears of it once, where it's told best.
            self.locks.end()
            self._stop()

    def _tell_user(self) -> bool:
        """Has user code end; False when it was over before."""
        if self._user is not None:
            return self._user.cancel()
        self._control.cancelled = True  # so that it's never called
        return not self._over

    def _limit_reached(self) -> None:
        limit_s = self.attempt.ran_s + (self.attempt.time_limit_s or 0.0)
        took = f"the run took longer than {limit_s:g} s of running time"
        self._ask_to_end(f"TimeLimitExceeded: {took} (KODO_TEMPORAL_EXECUTION_TIMEOUT)")

    def _stop(self) -> None:
        self._stopping.set()
        # Whoever waits for space in the mailbox, or for a pause's end, must look up.
        self._mailbox.wake()
        self._control.wake()

    def _on_waiting(self, waiting: bool) -> None:
        self._clock.hold("waiting", waiting)
        if not self._spec.durable:
            self._tell_waiting(self.fid, waiting)

    def _on_open_locks(self) -> None:
        # Many may open at once, and each call names them all.
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell_open_locks)

    def _tell_open_locks(self) -> None:
        self._telling = False
        if not self.locks.over:
            self._tell_waiting(self.fid, self.locks.waiting, self.locks.open_locks)

    def _on_transport_failure(self, _: Exception) -> None:
        """Called on the shipping loop."""
        self._loop.call_soon_threadsafe(self._transport_failed)

    def _transport_failed(self) -> None:
        self._tell_user()
        self.locks.end()
        self._stop()

    # the end ---------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Nothing can be asked of it any more; idempotent."""
        self._over = True
        self._clock.stop()
        self.locks.end()
        self._control.end()

    async def _ended(self, restored: bool) -> RunOutcome:
        """Puts the end, or nothing when user code is to be called again."""
        failure = self._failure()
        ended = [] if failure else self._end_events()
        self._mailbox.seal(ended)
        await self._mailbox.shipped()
        if failure and self._mailbox.failure is not None:
            # Events were lost after all was decided: another attempt can't make up for them.
            failure, ended = "", error_end(LOSS_NOTICE)
            self._mailbox.force(ended)
            await self._mailbox.shipped()
        reason = self._why_unfit(restored)
        if failure:
            kept = self.locks.kept
            return RunOutcome(
                ExecutionState.RUNNING, not reason, reason, AttemptEnd.RAISED, failure, self._clock.ran_s, kept
            )
        # Events may have been lost after the end was made up, which made it another one.
        state = ExecutionState.ERROR if self._mailbox.failure else ExecutionState(ended[-1].payload)
        return RunOutcome(state, not reason, reason, ran_s=self._clock.ran_s)

    def _failure(self) -> str:
        """What user code raised, in words, if it's to be called again for it; else ""."""
        if self._mailbox.failure is not None or self._notice is not None:
            return ""
        assert self._user is not None
        outcome = self._user.done.result()
        return shortened(outcome.text, MAX_FAILURE_CHARS) if outcome.again else ""

    def _end_events(self) -> list[Event]:
        if self._mailbox.failure is not None:
            return error_end(LOSS_NOTICE)
        if self._notice is not None:
            return error_end(self._notice)
        assert self._user is not None
        return self._end_of(self._user.done.result())

    def _end_of(self, outcome: Outcome) -> list[Event]:
        if outcome.failed:
            return error_end(outcome.text)
        final = Event.now(EventKind.FINAL, outcome.text)
        try:
            check_size(final, self._max_bytes)
        except PayloadTooLarge as exc:
            return error_end(f"{type(exc).__module__}.{type(exc).__qualname__}: {exc}")
        return [final, Event.now(EventKind.STATUS, ExecutionState.FINISHED)]

    def _why_unfit(self, restored: bool) -> str:
        """Why this process must not serve another run; "" when it may."""
        if self._user is None:
            return ""  # it was never called
        if not self._user.done.done():
            return "user code did not stop when it was cancelled"
        if self._user.interrupted:
            return "user code was interrupted in its thread"
        if not restored:
            return "standard output could not be restored"
        self._user.thread.join()
        if left := threads_left([*self._threads, threading.current_thread()]):
            return f"threads were left behind: {', '.join(thread.name for thread in left)}"
        return self._why_changed()

    def _why_changed(self) -> str:
        imported = self._sources.record()
        changed = False
        if self._surroundings is not None:
            changed = self._surroundings.restore()
        # Whether a late import or the run itself made the change can't be told: only a fresh process is right.
        return "modules imported during the run changed the process" if imported and changed else ""
