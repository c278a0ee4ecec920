"""The pool: one actor per cluster that accepts runs, lets them wait their turn and gives each a warm process.

It holds a call on every run, so it notices a process's death at once and ends the run. It never sees a user's
code or an event of theirs. When it dies, Ray restarts it and it finds the living runners again; runs that waited
are unknown to it then, and the spooler ends them.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from ..cluster import NAMESPACE
from ..config import Settings
from ..error import ExecutionNotFound, LaunchUnavailable, LockNotFound, TransportError
from ..transport import EventProducer, ProducerTicket, Transport, connect_transport, transport_from
from ..transport.ending import put_end
from .fair_queue import FairQueue
from .head import head_events
from .lock_types import LockAnswer, LockClaim, OpenLock
from .main import RunOutcome, StaleEnvironment
from .process import NAME_PREFIX, RunnerProcess
from .spec import AppEnvironment, RunSpec
from .stock import ProcessStock
from .tasks import BackgroundTasks

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
"""Longest wait for the transport to take a launch's first events."""

CANCEL_GRACE_S = 8.0
"""A runner ends a cancelled run itself within five seconds; after this it's taken for hung and killed."""

ADOPT_TIMEOUT_S = 30.0
TOOK_TIMEOUT_S = 5.0
WANTED_BY_LAUNCH_S = 600.0
REFUSAL_LIFETIME_S = 15.0


@dataclass(eq=False, slots=True)
class Run:
    """One accepted run.

    Attributes:
        fid, user: whose it is.
        producer: ends it when its process can't.
        spec: what to run; None for a run found at work after the pool's restart.
        process: who serves it, None while it waits.
        killed_by: who asked for its end.
        over: set when its terminal event is in the transport.
    """

    fid: str
    user: str
    producer: EventProducer
    spec: RunSpec | None
    process: RunnerProcess | None = None
    killed_by: str | None = None
    waiting_since: float = field(default_factory=time.monotonic)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def death_notice(self, cause: BaseException) -> str:
        """What the ``error`` event says when its process is gone."""
        if self.killed_by:
            return f"killed by {self.killed_by}"
        first_line = (str(cause).splitlines() or [""])[0]
        return f"RunnerDied: the process of this run ended unexpectedly. {first_line}".rstrip()


class RunnerPool:
    """The actor's class; ``execution/direct.py`` makes and calls it. Methods do what ``ExecutionMode`` says.

    Args:
        settings: limits and transport, until :meth:`configure` brings others.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport: Transport = connect_transport(settings)
        self._runs: dict[str, Run] = {}
        self._waiting: FairQueue[Run] = FairQueue()
        self._stock = ProcessStock(settings, self._dispatch, self._give_up)
        self._refusal: tuple[str, float] | None = None
        self._tasks = BackgroundTasks()
        self._recovery: asyncio.Task[None] | None = None

    async def launch(self, spec: RunSpec) -> None:
        """Accepts a run."""
        await self._recovered()
        if spec.fid in self._runs:
            return
        self._check_refusal()
        run = Run(spec.fid, spec.username, self._transport.producer(spec.fid, spec.username), spec)
        # Known before its first event can be stored: so the spooler never takes it for a lost one.
        self._runs[spec.fid] = run
        try:
            await asyncio.wait_for(run.producer.put(head_events(spec)), HEAD_TIMEOUT_S)
        except (TransportError, TimeoutError) as exc:
            self._forget(run)
            reason = str(exc) or "the event queue is full and nothing is being stored"
            raise LaunchUnavailable(f"The run was not started: {reason}. Try again later.") from exc
        self._stock.want(spec.environment, WANTED_BY_LAUNCH_S)
        self._stock.expect(spec.environment.key, spec.entry_point)
        self._waiting.add(run.user, run)
        self._dispatch()

    async def cancel(self, fid: str, by: str) -> bool:
        """Ends a run; returns when its terminal event is in the transport."""
        await self._recovered()
        run = self._runs.get(fid)
        if run is None:
            return False
        run.killed_by = run.killed_by or by
        if run.process is None:
            self._waiting.remove(run.user, run)
            await self._end(run, f"killed by {run.killed_by}")
            return True
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await run.process.cancel(fid, by)
                await run.over.wait()
        except (TimeoutError, RayError):
            run.process.end()
            await run.over.wait()
        return True

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        """Those that run, wait or have no end in the transport yet."""
        await self._recovered()
        return frozenset(fid for fid in fids if fid in self._runs)

    async def places(self) -> dict[str, int]:
        """Place of each waiting run, 1 is next."""
        return {run.fid: place for place, run in enumerate(self._waiting, start=1)}

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Keeps warm processes ready for an app for the next ``wanted_s`` seconds."""
        await self._recovered()
        self._stock.want(environment, wanted_s)
        self._stock.keep_warm(environment.key)

    async def configure(self, settings: Settings) -> None:
        """Makes these settings the cluster's: limits at once, the transport for runs launched from now on."""
        if _transport_settings(settings) != _transport_settings(self._settings):
            self._transport = connect_transport(settings)
        self._settings = self._stock.settings = settings
        self._dispatch()

    async def refuse(self, reason: str | None) -> None:
        """Refuses launches for a while (the store can't keep them); None takes them again."""
        self._refusal = (reason, time.monotonic() + REFUSAL_LIFETIME_S) if reason else None

    async def figures(self) -> dict[str, int]:
        """Counts for health."""
        busy = self._stock.busy
        return {
            "waiting": len(self._waiting),
            "running": busy,
            "awaiting": busy - self._stock.working,
            **self._stock.figures(),
        }

    async def pid(self) -> int:
        """This actor's process id, for tests that kill it and for finding it in a process list."""
        return os.getpid()

    async def watch(self) -> None:
        """A held call: ends only with this actor."""
        await asyncio.Event().wait()

    # locks -----------------------------------------------------------------------------------------------------------

    async def lock(self, fid: str, lid: str) -> OpenLock:
        """An open lock of a run."""
        return await (await self._process_of(fid, lid)).lock(fid, lid)

    async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim:
        """Begins to answer a lock; a held call while another claim is worked on."""
        return await (await self._process_of(fid, lid)).claim_lock(fid, lid, claim)

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        """Ends a claim; returns when the answer's event is in the transport."""
        try:
            await (await self._process_of(fid, lid)).settle_lock(fid, lid, claim, answer)
        except ExecutionNotFound:
            # Asked again because an earlier pool died before it could answer? With its answer, a run may soon be over.
            if answer is None or not await self._took(claim):
                raise

    async def waits(self, fid: str, waiting: bool) -> None:
        """Told by a runner: its run waits for a lock, or goes on. Who waits takes nobody's place."""
        await self._recovered()
        run = self._runs.get(fid)
        if run is not None and run.process is not None:
            run.process.waits = waiting
            self._dispatch()

    async def _took(self, claim: str) -> bool:
        """Whether any process took a claim's answer."""
        answers = (asyncio.wait_for(process.took(claim), TOOK_TIMEOUT_S) for process in self._stock.processes)
        return True in await asyncio.gather(*answers, return_exceptions=True)

    async def _process_of(self, fid: str, lid: str) -> RunnerProcess:
        await self._recovered()
        run = self._runs.get(fid)
        if run is None:
            raise ExecutionNotFound(fid)
        if run.process is None:
            raise LockNotFound(fid, lid)
        return run.process

    # giving runs to processes --------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Gives waiting runs to idle processes in fair order, and has processes started for those that wait."""
        lacking: dict[str, float] = {}
        for run in list(self._waiting):
            if self._stock.working >= self._settings.max_runs:
                return
            assert run.spec is not None
            key = run.spec.environment.key
            process = None if key in lacking else self._stock.take(key)
            if process is None:
                lacking.setdefault(key, run.waiting_since)
            else:
                self._waiting.take(run.user, run)
                run.process = process
                self._tasks.spawn(self._serve(run, run.spec, process))
        for key, since in lacking.items():
            self._stock.demand(key, since)

    async def _serve(self, run: Run, spec: RunSpec, process: RunnerProcess) -> None:
        reusable = False
        try:
            # Sending the handle costs half a millisecond, which runs without locks needn't pay.
            pool = _this_actor() if spec.locks != () else None
            outcome = await process.run(spec, self._ticket(run), self._settings.lock_expires, pool)
            reusable = self._reusable(process, outcome)
            self._forget(run)
        except StaleEnvironment:
            await self._serve_again(run)
        except RayActorError as exc:
            await self._end(run, run.death_notice(exc))
        except Exception as exc:
            logger.exception("the runner of %s failed", run.fid)
            await self._end(run, f"The runner failed: {exc}")
        finally:
            self._stock.give_back(process, reusable=reusable)

    def _ticket(self, run: Run) -> ProducerTicket:
        return replace(run.producer.ticket, max_event_bytes=self._settings.max_event_bytes)

    async def _serve_again(self, run: Run) -> None:
        """Another process must serve it: this one's code is out of date, and nothing of the run was put."""
        run.process = None
        if run.killed_by:
            await self._end(run, f"killed by {run.killed_by}")
        else:
            self._waiting.put_back(run.user, run)

    def _reusable(self, process: RunnerProcess, outcome: RunOutcome | None) -> bool:
        return outcome is not None and outcome.reusable and process.runs < self._settings.runner_max_runs

    async def _give_up(self, environment: AppEnvironment, cause: Exception) -> None:
        """Ends the runs that wait for an environment in which no process can be started."""
        for run in list(self._waiting):
            if run.spec is not None and run.spec.environment.key == environment.key:
                self._waiting.remove(run.user, run)
                await self._end(run, f"The runner could not be started: {cause}")

    async def _end(self, run: Run, reason: str) -> None:
        try:
            await put_end(run.producer, reason)
        except Exception:
            # Whatever it is: once nobody knows the run any more, the spooler ends it.
            logger.exception("%s cannot be ended here", run.fid)
        finally:
            self._forget(run)

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.fid, None)
        run.over.set()
        self._tasks.spawn(run.producer.close())

    def _check_refusal(self) -> None:
        if self._refusal is not None and time.monotonic() < self._refusal[1]:
            raise LaunchUnavailable(f"The run was not started: {self._refusal[0]}. Try again later.")

    # after a restart -----------------------------------------------------------------------------------------------

    async def _recovered(self) -> None:
        if self._recovery is None or (self._recovery.done() and self._recovery.exception()):
            self._recovery = asyncio.create_task(self._recover())
        await asyncio.shield(self._recovery)

    async def _recover(self) -> None:
        """Finds the runners of an earlier pool, before anything is said about what is known."""
        actors = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
        names = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
        await asyncio.gather(*(self._adopt(name) for name in names if name.startswith(NAME_PREFIX)))

    async def _adopt(self, name: str) -> None:
        try:
            process = await asyncio.to_thread(RunnerProcess.adopt, name)
        except ValueError:
            return
        try:
            current = await asyncio.wait_for(process.current(_this_actor()), ADOPT_TIMEOUT_S)
        except (RayError, TimeoutError) as exc:
            logger.warning("runner %s does not answer and is ended: %s", name, exc)
            process.end()
            return
        self._stock.adopt(process, WANTED_BY_LAUNCH_S, at_work=current is not None)
        if current is not None:
            fid, ticket, process.waits = current
            run = Run(fid, ticket.username, transport_from(ticket).producer_from(ticket), None, process)
            self._runs[fid] = run
            self._tasks.spawn(self._serve_adopted(run, process))

    async def _serve_adopted(self, run: Run, process: RunnerProcess) -> None:
        reusable = False
        try:
            reusable = self._reusable(process, await process.wait())
            self._forget(run)
        except RayError as exc:
            await self._end(run, run.death_notice(exc))
        finally:
            self._stock.give_back(process, reusable=reusable)


@functools.cache
def _this_actor() -> Any:
    """The pool's own handle; it stays good when Ray restarts the pool."""
    return ray.get_runtime_context().current_actor


def _transport_settings(settings: Settings) -> dict[str, object]:
    """What a transport is made of."""
    prefixes = ("event_transport", "redis_", "queue_", "ray_queues")
    return {name: value for name, value in settings.model_dump().items() if name.startswith(prefixes)}
