"""One run, from ``running`` to its terminal event: user code, capture and mailbox brought together."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from ..error import ExecutionClosed, PayloadTooLarge
from ..events import Event, EventKind, ExecutionState
from ..transport import ProducerTicket
from ..transport.ending import LOSS_NOTICE
from .capture import Capture
from .files.downloads import remove_downloads
from .locks import Locks
from .mailbox import open_mailbox
from .spec import RunSpec, UploadedFile
from .state import Sources, Surroundings, threads_left
from .tracer import RunControl, RunHome, Tracer, check_size
from .usercode import Outcome, UserCode

GRACE_S = 5.0
"""Time for user code to clean up after a cancel."""

MAX_ERROR_CHARS = 100_000
"""Longest traceback text; the middle of a longer one is left out."""


class RunOutcome(NamedTuple):
    """How a run ended, and what becomes of its process.

    Attributes:
        state: ``finished`` or ``error``.
        reusable: whether the process may serve another run.
        reason: why not, "" when it may.
    """

    state: ExecutionState
    reusable: bool
    reason: str


class Run:
    """One run in this process.

    Args:
        spec: what to run. ticket: where its events go. sources: of the process, extended by what the run imports.
        runner: name of this process's actor, "" without one.
        lock_expires_s: seconds until a lock expires that names no timeout.
        on_waiting: told when it begins to wait for a lock, and when it goes on.

    Attributes:
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
        on_waiting: Callable[[bool], None],
    ) -> None:
        self.fid = spec.fid
        self._spec = spec
        self._sources = sources
        self._mailbox = open_mailbox(ticket)
        self._max_bytes = ticket.max_event_bytes
        self._control = RunControl(spec.fid)
        self._home = RunHome(runner, spec.files)
        self.locks = self._control.locks = Locks(
            spec.fid,
            spec.username,
            self._mailbox,
            names=spec.locks,
            expires_s=lock_expires_s,
            max_bytes=self._max_bytes,
            on_waiting=on_waiting,
        )
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._killed_by: str | None = None
        self._user: UserCode | None = None
        self._surroundings: Surroundings | None = None
        self._threads = threading.enumerate()

    @property
    def ticket(self) -> ProducerTicket:
        """Lets another process end this run."""
        return self._mailbox.ticket

    def cancel(self, by: str) -> None:
        """Asks for the end; the first who asks is named. No effect once user code is over."""
        if self._killed_by is None and self._user is not None and self._user.cancel():
            self._killed_by = by
            # After user code was told: who waits for a lock hears of it once, where it's told best.
            self.locks.end()
            self._stop()

    async def serve(self) -> RunOutcome:
        """Runs the user's code; returns when the terminal event is in the transport.

        Raises:
            Exception: what the transport failed with, when the end could not be put.
        """
        self._mailbox.on_failure = self._on_transport_failure
        self._mailbox.post_now([Event.now(EventKind.STATUS, ExecutionState.RUNNING), *_told(self._spec.uploads)])
        restored = await self._call()
        ended = self._end_events()
        self._mailbox.seal(ended)
        try:
            await self._mailbox.shipped()
        except ExecutionClosed:
            return RunOutcome(ExecutionState.ERROR, False, "the execution was ended elsewhere")
        finally:
            await self._mailbox.close()
        reason = self._why_unfit(restored)
        # Events may have been lost after the end was made up, which made it another one.
        state = ExecutionState.ERROR if self._mailbox.failure else ExecutionState(ended[-1].payload)
        return RunOutcome(state, not reason, reason)

    async def _call(self) -> bool:
        """Calls user code under capture; True when the process's streams are as they were."""
        self._control.begin()
        capture = Capture(self._mailbox, self._max_bytes)
        try:
            tracer = Tracer(self._mailbox.ticket, self._home, control=self._control)
            self._user = UserCode(self._spec, tracer, self._control, self._imported, self._leaving(capture))
            self._user.start()
            await self._over(self._user)
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

    async def _over(self, user: UserCode) -> None:
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

    def _stop(self) -> None:
        self._stopping.set()
        self._mailbox.wake()  # whoever waits for space in it must look up

    def _on_transport_failure(self, _: Exception) -> None:
        """Called on the shipping loop."""
        self._loop.call_soon_threadsafe(self._transport_failed)

    def _transport_failed(self) -> None:
        if self._user is not None:
            self._user.cancel()
        self.locks.end()
        self._stop()

    # the end ---------------------------------------------------------------------------------------------------------

    def _end_events(self) -> list[Event]:
        if self._mailbox.failure is not None:
            return _error_end(LOSS_NOTICE)
        if self._killed_by is not None:
            return _error_end(f"killed by {self._killed_by}")
        assert self._user is not None
        return self._ended(self._user.done.result())

    def _ended(self, outcome: Outcome) -> list[Event]:
        if outcome.failed:
            return _error_end(outcome.text)
        final = Event.now(EventKind.FINAL, outcome.text)
        try:
            check_size(final, self._max_bytes)
        except PayloadTooLarge as exc:
            return _error_end(f"{type(exc).__module__}.{type(exc).__qualname__}: {exc}")
        return [final, Event.now(EventKind.STATUS, ExecutionState.FINISHED)]

    def _why_unfit(self, restored: bool) -> str:
        """Why this process must not serve another run; "" when it may."""
        assert self._user is not None
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


def _told(uploads: Sequence[UploadedFile]) -> list[Event]:
    if not uploads:
        return []
    files = [asdict(upload) for upload in uploads]
    return [Event.now(EventKind.UPLOAD, json.dumps({"Upload": {"files": files}}, ensure_ascii=False))]


def _error_end(text: str) -> list[Event]:
    return [
        Event.now(EventKind.ERROR, _shortened(text)),
        Event.now(EventKind.STATUS, ExecutionState.ERROR),
    ]


def _shortened(text: str) -> str:
    half = MAX_ERROR_CHARS // 2
    if len(text) <= MAX_ERROR_CHARS:
        return text
    return f"{text[:half]}\n… {len(text) - MAX_ERROR_CHARS:,} characters left out …\n{text[-half:]}"
