"""Waiting for a lock, or for a pause's end, where user code is: in the run's own process, or in a remote task that
reaches it through Ray.

Both ways end alike: with a :class:`LockOutcome`, which the tracer turns into a value or an exception.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol

from ..error import LockError
from .lock_types import BUSY, CANCELLED, PASSED, LockOutcome, LockRequest
from .payload import plain

if TYPE_CHECKING:
    from .control import RunControl
    from .locks import Locks

RETRY_S = 1.0
"""Pause before a run's process is asked again that has no room, or can't be reached for a moment."""


class Waiting(Protocol):
    """How a tracer waits for what its run's process decides."""

    async def wait(self, request: LockRequest) -> LockOutcome:
        """Opens a lock and waits for its end; for coroutines. Being cancelled withdraws the lock."""
        ...

    def wait_sync(self, request: LockRequest) -> LockOutcome:
        """For plain code, whose thread waits."""
        ...

    async def checkpoint(self) -> LockOutcome:
        """Waits while the run is paused; for coroutines."""
        ...

    def checkpoint_sync(self) -> LockOutcome:
        """For plain code, whose thread waits."""
        ...


class WaitingHere:
    """In the run's own process.

    Args:
        locks: of the run. control: of the run.
    """

    def __init__(self, locks: Locks, control: RunControl) -> None:
        self._locks = locks
        self._control = control

    async def wait(self, request: LockRequest) -> LockOutcome:
        return await asyncio.wrap_future(self._locks.submit(request))

    def wait_sync(self, request: LockRequest) -> LockOutcome:
        # The lock's end tells this thread that the run shall end; nothing needs to be raised into it.
        with self._control.parked():
            future = self._locks.submit(request)
            try:
                return future.result()
            except CancelledError:
                return CANCELLED
            finally:
                future.cancel()  # no effect on one that is done; else an exception ends the waiting

    async def checkpoint(self) -> LockOutcome:
        await self._control.hold()
        return CANCELLED if self._control.cancelled else PASSED

    def checkpoint_sync(self) -> LockOutcome:
        self._control.hold_sync()
        return CANCELLED if self._control.cancelled else PASSED


class WaitingRemotely:
    """In another process of the cluster: a call is held on the run's runner.

    Args:
        runner: name of the runner's actor. fid: of the run. attempt: of it.
    """

    def __init__(self, runner: str, fid: str, attempt: int = 1) -> None:
        self._runner = runner
        self._fid = fid
        self._attempt = attempt

    async def wait(self, request: LockRequest) -> LockOutcome:
        actor = await asyncio.to_thread(self._actor)
        if actor is None:
            return CANCELLED
        try:
            return await _asked(lambda: actor.lock.remote(self._fid, request, self._attempt))
        except BaseException:
            actor.withdraw_lock.remote(self._fid, request.lid, self._attempt)
            raise

    def wait_sync(self, request: LockRequest) -> LockOutcome:
        actor = self._actor()
        if actor is None:
            return CANCELLED
        try:
            return _asked_sync(lambda: actor.lock.remote(self._fid, request, self._attempt))
        except BaseException:
            actor.withdraw_lock.remote(self._fid, request.lid, self._attempt)
            raise

    async def checkpoint(self) -> LockOutcome:
        actor = await asyncio.to_thread(self._actor)
        if actor is None:
            return CANCELLED
        return await _asked(lambda: actor.checkpoint.remote(self._fid, self._attempt))

    def checkpoint_sync(self) -> LockOutcome:
        actor = self._actor()
        if actor is None:
            return CANCELLED
        return _asked_sync(lambda: actor.checkpoint.remote(self._fid, self._attempt))

    def _actor(self) -> Any:
        """The runner; None when its process is gone, and the run's attempt with it."""
        import ray

        from ..cluster import NAMESPACE

        try:
            return ray.get_actor(self._runner, namespace=NAMESPACE)
        except ValueError:
            return None


class NoWaiting:
    """Where the run's process can't be reached, as in a process that user code started without Ray."""

    async def wait(self, request: LockRequest) -> LockOutcome:
        return self.wait_sync(request)

    def wait_sync(self, request: LockRequest) -> LockOutcome:
        return LockOutcome(error=LockError("A lock can be waited for in the run's own process and in Ray tasks alone."))

    async def checkpoint(self) -> LockOutcome:
        return PASSED

    def checkpoint_sync(self) -> LockOutcome:
        return PASSED


def requested(
    name: str, data: Any, timeout: float | None, assignee: str | Iterable[str] | None, four_eyes: bool
) -> LockRequest:
    """A request for a new lock from what an author gave.

    Raises:
        ValueError: a timeout that is not a positive number of seconds, an assignee that names nobody.
        TypeError: an assignee that is no text.
    """
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout={timeout!r}: give a positive number of seconds, or None")
    return LockRequest(str(uuid.uuid4()), str(name), plain(data), timeout, _assignees(assignee), bool(four_eyes))


def _assignees(assignee: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if assignee is None:
        return None
    names = (assignee,) if isinstance(assignee, str) else tuple(assignee)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"assignee={assignee!r}: give a role's name, id or e-mail, or a list of them")
    names = tuple(name.strip() for name in names)
    if not names or not all(names):
        raise ValueError(f"assignee={assignee!r} names nobody")
    return names


async def _asked(call: Callable[[], Any]) -> LockOutcome:
    """The outcome of a held call, made again while the run's process is busy or can't be reached for a moment."""
    from ray.exceptions import RayActorError

    while True:
        try:
            outcome: LockOutcome = await asyncio.wrap_future(call().future())
        except RayActorError as exc:
            outcome = _lost(exc)
        if not outcome.busy:
            return outcome
        await asyncio.sleep(RETRY_S)


def _asked_sync(call: Callable[[], Any]) -> LockOutcome:
    import ray
    from ray.exceptions import RayActorError

    while True:
        try:
            # Ray gives this task's processors to others while it waits here.
            outcome: LockOutcome = ray.get(call())
        except RayActorError as exc:
            outcome = _lost(exc)
        if not outcome.busy:
            return outcome
        time.sleep(RETRY_S)


def _lost(exc: Exception) -> LockOutcome:
    """What it means that a held call broke: the process can't be reached now, or it's gone, and the run with it."""
    from ray.exceptions import ActorUnavailableError

    return BUSY if isinstance(exc, ActorUnavailableError) else CANCELLED
