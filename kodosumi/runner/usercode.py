"""User code on a thread of its own: called, awaited on a loop of its own, and told when the run shall end.

Whatever it does to its thread or loop, nothing else of the runner lives there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import cloudpickle

from ..log import set_fid
from .control import RunControl
from .crew import run_crew
from .entry import bound, crew_of, resolve, traceback_text
from .payload import wrap
from .retrying import worth_another
from .spec import RunSpec
from .tracer import Tracer


class Outcome(NamedTuple):
    """How user code ended: the wrapped result, or the traceback's text, and whether it may be called again then."""

    failed: bool
    text: str
    again: bool = False


class UserCode:
    """One call of an entry point.

    Args:
        spec: what to call. tracer: what to give it. control: tells the run's threads about its end.
        imported: called on the thread when the entry point is there, before it's called.
        leaving: called on the thread after it.

    Attributes:
        done: its outcome, on the loop that made this object.
        interrupted: whether an exception was raised into its thread, which may have left any lock held.
    """

    def __init__(
        self,
        spec: RunSpec,
        tracer: Tracer,
        control: RunControl,
        imported: Callable[[], None],
        leaving: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._tracer = tracer
        self._control = control
        self._imported = imported
        self._leaving = leaving
        self._owner = asyncio.get_running_loop()
        self.done: asyncio.Future[Outcome] = self._owner.create_future()
        self.interrupted = False
        self.thread = threading.Thread(target=self._run, name=f"kodosumi-run-{spec.fid}", daemon=True)
        self._lock = threading.Lock()
        self._over = False
        self._called = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def cancel(self) -> bool:
        """Raises ``CancelledError`` in the user's code: at its next await, or in its thread when it doesn't await.

        Returns:
            False when it was over before; its outcome stands.
        """
        with self._lock:
            if self._over:
                return False
            self._control.cancelled = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cancel_task)
            elif self.thread.ident is not None and self._control.tell(self.thread.ident):
                self.interrupted = True
                _raise_in_thread(self.thread.ident, asyncio.CancelledError)
            return True

    # on the user's thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        set_fid(self._spec.fid)
        try:
            try:
                outcome = Outcome(False, wrap(self._result()))
            finally:
                self._end_interruptions()
        except BaseException as exc:  # SystemExit and KeyboardInterrupt end the run, not the process
            outcome = Outcome(True, _failure_text(exc), self._called and self._worth_another(exc))
        with contextlib.suppress(Exception):
            self._leaving()
        with contextlib.suppress(RuntimeError):
            self._owner.call_soon_threadsafe(self._report, outcome)

    def _report(self, outcome: Outcome) -> None:
        if not self.done.done():
            self.done.set_result(outcome)

    def _result(self) -> Any:
        target = resolve(self._spec.entry_point)
        inputs = cloudpickle.loads(self._spec.inputs)
        self._imported()
        self._called = True  # what went wrong before would go wrong again
        crew = crew_of(target)
        if crew is not None:
            return self._awaited(run_crew(crew, inputs, self._tracer))
        result = bound(target, inputs, self._tracer)()
        return self._awaited(result) if inspect.isawaitable(result) else result

    def _worth_another(self, exc: BaseException) -> bool:
        return worth_another(exc, self._spec.retry, self._spec.attempt)

    def _awaited(self, work: Awaitable[Any]) -> Any:
        with asyncio.Runner() as runner:
            self._enter(runner.get_loop())
            try:
                return runner.run(self._main(work))
            finally:
                self._enter(None)

    def _enter(self, loop: asyncio.AbstractEventLoop | None) -> None:
        with self._lock:  # a cancel must not find a loop that is closed a moment later
            self._loop = loop

    async def _main(self, work: Awaitable[Any]) -> Any:
        self._task = asyncio.current_task()
        if self._control.cancelled and self._task is not None:
            self._cancel_task()  # asked for before there was a task to cancel
        return await work

    def _cancel_task(self) -> None:
        # Unless a tracer call has told this thread already, while its loop was blocked.
        if self._task is not None and self._control.tell(threading.get_ident()):
            self._task.cancel()

    def _end_interruptions(self) -> None:
        """From here on nothing is raised into this thread, and what's on its way is taken back."""
        while True:
            try:
                with self._lock:
                    self._over = True
                if self.interrupted:
                    _raise_in_thread(threading.get_ident(), None)
                return
            except asyncio.CancelledError:
                continue


def _failure_text(exc: BaseException) -> str:
    try:
        return traceback_text(exc)
    except Exception:  # the author's exception can't even be shown; the run must end all the same
        return type(exc).__name__


def _raise_in_thread(ident: int, exception: type[BaseException] | None) -> None:
    raised = ctypes.py_object(exception) if exception is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), raised)
