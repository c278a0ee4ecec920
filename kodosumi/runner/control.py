"""What the threads of a run are told from outside: that it shall end, or wait for a while.

Lives in the process that serves the run. Whoever tells is on the control loop; whoever is told is user code, at its
next tracer call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .gates import AnyGate, Gate, LoopGate, ThreadGate

if TYPE_CHECKING:
    from .locks import Locks


class RunControl:
    """Whether a run has been asked to end or to wait, and whom that was told.

    Args:
        fid: the execution. attempt: which of it this is.

    Attributes:
        cancelled: whether it has been asked to end.
        paused: whether it has been asked to wait; nobody waits once it's asked to end.
        locks: of the run, while it is served.
    """

    _current: RunControl | None = None

    def __init__(self, fid: str, attempt: int = 1) -> None:
        self.fid = fid
        self.attempt = attempt
        self.cancelled = False
        self.paused = False
        self.locks: Locks | None = None
        self._told: set[int] = set()
        self._parked: set[int] = set()
        self._gates: list[Gate] = []
        self._lock = threading.Lock()

    @classmethod
    def of(cls, fid: str, attempt: int = 1) -> RunControl | None:
        """The control of a run that this process serves now, None elsewhere."""
        current = cls._current
        return current if current is not None and (current.fid, current.attempt) == (fid, attempt) else None

    def begin(self) -> None:
        """Makes this the process's current run."""
        RunControl._current = self

    def end(self) -> None:
        """The process serves no run any more, and nobody waits in it."""
        RunControl._current = None
        self.resume()

    # the end ---------------------------------------------------------------------------------------------------------

    def tell(self, thread: int) -> bool:
        """Whether a thread is still to be told; it counts as told from now on. Told once, it can clean up in peace."""
        with self._lock:
            news = self.cancelled and thread not in self._told and thread not in self._parked
            if news:
                self._told.add(thread)
            return news

    @contextmanager
    def parked(self) -> Iterator[None]:
        """The calling thread waits inside for something that ends with the run, and is told when it leaves.

        Raises:
            CancelledError: the run was asked to end.
        """
        thread = threading.get_ident()
        with self._lock:
            if self.cancelled:
                self._told.add(thread)
                raise asyncio.CancelledError("the run was asked to end")
            self._parked.add(thread)
        try:
            yield
        finally:
            with self._lock:
                self._parked.discard(thread)
        self.check()

    def check(self) -> None:
        """Tells the calling thread.

        Raises:
            CancelledError: the run was asked to end, and this thread didn't know yet.
        """
        if self.cancelled and self.tell(threading.get_ident()):
            raise asyncio.CancelledError("the run was asked to end")

    # the pause -------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """From here on whoever makes a tracer call waits."""
        self.paused = True

    def resume(self) -> None:
        """Lets everybody go on; idempotent."""
        self.paused = False
        self.wake()

    def wake(self) -> None:
        """Lets everybody who waits look again, as after a cancel."""
        with self._lock:
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.open()

    async def hold(self) -> None:
        """Returns when the run isn't paused, or is to end; for coroutines on any loop."""
        while gate := self._gate(LoopGate):
            await gate.wait()

    def hold_sync(self) -> None:
        """:meth:`hold` for plain code, whose thread waits.

        Raises:
            CancelledError: the run was asked to end, and this thread didn't know yet.
        """
        while gate := self._gate(ThreadGate):
            with self.parked():
                gate.wait()
        self.check()

    def _gate(self, new_gate: type[AnyGate]) -> AnyGate | None:
        with self._lock:
            if self.cancelled or not self.paused:
                return None
            gate = new_gate()
            self._gates.append(gate)
            return gate
