"""The runner: the process that runs user code, one run at a time, steered by the pool.

Its own event loop only controls; user code has a thread of its own (``usercode.py``), and events leave through a
third (``mailbox.py``). So a run is served, asked about and cancelled whatever its code does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..error import ExecutionNotFound
from ..log import set_fid, setup_last_resort
from ..transport import ProducerTicket
from .entry import resolve
from .lock_types import CANCELLED, LockAnswer, LockClaim, LockOutcome, LockRequest, OpenLock
from .locks import Locks
from .run import Run, RunOutcome
from .spec import AppEnvironment, CurrentRun, RunSpec
from .state import Sources, StaleEnvironment

logger = logging.getLogger(__name__)

MAX_TAKEN = 1_000
"""Claims of ended runs that are remembered, for whoever asks again after the answer to it was lost."""

IMPORT_PATIENCE_S = 15.0
"""An import that takes longer goes on, but the process is there for whoever waits."""

__all__ = ["RunOutcome", "Runner", "StaleEnvironment"]


class Runner:
    """The actor's class; the pool makes one per process.

    Args:
        environment: where the code of its runs can be imported.
        name: of the actor, for remote tasks that wait for locks; "" without one.
        log_format: of what this process itself logs.
    """

    def __init__(self, environment: AppEnvironment, name: str = "", log_format: str = "text") -> None:
        _enter(environment)
        _quieten_ray()
        setup_last_resort(log_format, "runner")
        self._name = name
        self._sources = Sources()
        self._pool: Any = None
        self._taken: deque[str] = deque(maxlen=MAX_TAKEN)
        self._run: Run | None = None
        self._last: RunOutcome | None = None
        self._over = asyncio.Event()

    async def ready(self, expected: Sequence[str | bytes] = ()) -> int:
        """The process's id, once it can serve.

        Args:
            expected: entry points it will probably be given; their modules are imported already, since that may
                take longer than the run.
        """
        if expected:
            imported = asyncio.ensure_future(_in_thread(lambda: self._import(expected)))
            await asyncio.wait({imported}, timeout=IMPORT_PATIENCE_S)
        return os.getpid()

    def _import(self, expected: Sequence[str | bytes]) -> None:
        for entry_point in expected:
            try:
                resolve(entry_point)
            except BaseException as exc:
                # Not our concern here: the run that names it will say so.
                logger.debug("%r cannot be imported ahead: %s", entry_point, exc)
        self._sources.record()

    async def run(
        self, spec: RunSpec, ticket: ProducerTicket, lock_expires_s: float = 10_800.0, pool: Any = None
    ) -> RunOutcome:
        """Serves one attempt of a run; returns after all it told is in the transport, its terminal event with it.

        Without a terminal event it ends when user code raised what it's to be called again for (``RAISED``), and when
        nothing is taken from it any more (``CLOSED``).

        Args:
            spec: what to run. ticket: where its events go, behind those that announced it.
            lock_expires_s: seconds until a lock expires that names no timeout.
            pool: the pool's actor, to be told when the run begins to wait for a lock and when it goes on; of a durable
                run also, with every change, which locks are open.

        Raises:
            StaleEnvironment: the code of earlier runs has changed on disk; nothing was put.
            RuntimeError: another run is being served.
        """
        if self._run is not None:
            raise RuntimeError(f"this process already serves {self._run.fid}")
        set_fid(spec.fid)  # of this call's task, and of what it starts
        self._sources.check()
        self._run = run = Run(
            spec,
            ticket,
            self._sources,
            runner=self._name,
            lock_expires_s=lock_expires_s,
            tell_waiting=self._tell_waiting,
        )
        self._pool = pool
        self._last = None
        self._over.clear()
        try:
            self._last = await run.serve()
            return self._last
        finally:
            self._taken.extend(run.locks.taken)
            self._run = None
            self._over.set()

    async def cancel(self, fid: str, by: str) -> bool:
        """Asks a run to end, in the name of ``by``; answers at once. False when that run isn't here."""
        run = self._served(fid)
        if run is None:
            return False
        run.cancel(by)
        return True

    async def pause(self, fid: str, by: str) -> bool:
        """Has a run wait at its next tracer call; returns when ``paused`` is in the transport. Idempotent.

        Returns:
            False: that run isn't here, or is about to end.
        """
        run = self._served(fid)
        return run is not None and await run.pause(by)

    async def resume(self, fid: str, by: str) -> bool:
        """Lets a paused run go on; returns when ``running`` is in the transport. Idempotent.

        Returns:
            False: that run isn't here, or is about to end.
        """
        run = self._served(fid)
        return run is not None and await run.resume(by)

    async def checkpoint(self, fid: str, attempt: int = 1) -> LockOutcome:
        """Holds a remote task's call while the run is paused."""
        run = self._served(fid, attempt)
        return CANCELLED if run is None else await run.checkpoint()

    async def current(self, pool: Any = None) -> CurrentRun | None:
        """The run being served, how to end it and how it stands; None when idle.

        Args:
            pool: who asks, and is told of the run's waiting from now on.
        """
        if self._run is None:
            return None
        self._pool = pool or self._pool
        return self._run.current

    async def wait(self) -> RunOutcome | None:
        """Returns when the current run is over, with its outcome, or the last one's; None when there was none."""
        if self._run is not None:
            await self._over.wait()
        return self._last

    # locks -----------------------------------------------------------------------------------------------------------

    async def lock(self, fid: str, request: LockRequest, attempt: int = 1) -> LockOutcome:
        """Opens a lock for a remote task and returns how it ended; a held call."""
        run = self._served(fid, attempt)
        return CANCELLED if run is None else await run.wait_for_remote(request)

    async def withdraw_lock(self, fid: str, lid: str, attempt: int = 1) -> None:
        """Closes a lock that its remote task doesn't wait for any more."""
        run = self._served(fid, attempt)
        if run is not None:
            run.locks.withdraw(lid)

    async def open_lock(self, fid: str, lid: str) -> OpenLock:
        """As :meth:`ExecutionMode.lock` says."""
        return self._locks(fid).open_lock(lid)

    async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim:
        """As :meth:`ExecutionMode.claim_lock` says."""
        return await self._locks(fid).claim(lid, claim)

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        """As :meth:`ExecutionMode.settle_lock` says."""
        await self._locks(fid).settle(lid, claim, answer)

    async def took(self, claim: str) -> bool:
        """Whether a claim's answer was taken, by this run or one of the last."""
        return claim in self._taken or (self._run is not None and claim in self._run.locks.taken)

    def _locks(self, fid: str) -> Locks:
        run = self._served(fid)
        if run is None:
            raise ExecutionNotFound(fid)
        return run.locks

    def _served(self, fid: str, attempt: int | None = None) -> Run | None:
        """The run being served, if it's this one, and this attempt of it."""
        run = self._run
        return run if run is not None and run.fid == fid and attempt in (None, run.attempt.number) else None

    def _tell_waiting(self, fid: str, waiting: bool, *open_locks: tuple[OpenLock, ...]) -> None:
        if self._pool is not None:
            self._pool.waits.remote(fid, waiting, *open_locks)


async def _in_thread(work: Callable[[], None]) -> None:
    """Runs work on a thread that doesn't outlive it: a thread of a pool would look like one that a run left behind."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="kodosumi-import", daemon=True).start()
    await done.wait()


def _enter(environment: AppEnvironment) -> None:
    """Makes the app's code importable, as it was where it was launched."""
    new = [entry for entry in environment.python_path if entry not in sys.path]
    sys.path[:0] = new
    if environment.working_dir and Path(environment.working_dir).is_dir():
        os.chdir(environment.working_dir)


def _quieten_ray() -> None:
    """Ray warns of a blocking ``ray.get`` in an async actor. User code has its own thread here, so it may block."""
    worker = sys.modules.get("ray._private.worker")
    for name in ("blocking_get_inside_async_warned", "blocking_wait_inside_async_warned"):
        if worker is not None and hasattr(worker, name):
            setattr(worker, name, True)
