"""The pool: one actor per cluster that accepts runs, lets them wait their turn and gives each a warm process.

It holds a call on every run, so it notices a process's death at once and ends the run, or tells whoever sees to a
durable run's attempts. It never sees a user's code or an event of theirs. When it dies, Ray restarts it and it finds
the living runners again; runs that waited are unknown to it then, and the spooler ends them.

This is its face. What it knows of runs is in ``pool_runs.py``, how they are served in ``pool_serving.py``, how they're
ended and paused in ``pool_steering.py``, where their locks are answered in ``pool_locks.py``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Collection
from dataclasses import replace

import ray
from ray.exceptions import RayError

from ..cluster import NAMESPACE, publish, published
from ..config import Settings
from ..error import LaunchUnavailable, TransportError
from ..log import setup_last_resort
from ..transport import connect_transport, transport_from
from ..transport.ending import put_end
from .head import head_events
from .lock_types import LockAnswer, LockClaim, OpenLock
from .pool_locks import LockDesk
from .pool_runs import PUT_TIMEOUT_S, Run, Runs
from .pool_serving import Serving, this_actor
from .pool_steering import Steering
from .process import NAME_PREFIX, RunnerProcess
from .spec import AppEnvironment, AttemptEnd, AttemptOutcome, RunSpec

logger = logging.getLogger(__name__)

ADOPT_TIMEOUT_S = 30.0
WANTED_BY_ADOPTION_S = 600.0
REFUSAL_LIFETIME_S = 15.0
PROCESS = "runner-pool"
"""What its log lines call it."""

SETTINGS_KEY = "pool/settings"
"""Where the cluster keeps what the pool was configured with: Ray restarts it with what it was first made with."""


class RunnerPool:
    """The actor's class; ``execution/direct.py`` makes and calls it. Methods do what ``ExecutionMode`` says.

    Args:
        settings: limits and transport, until :meth:`configure` brings others.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        setup_last_resort(settings.log_format, PROCESS)
        self._configured = False
        self._runs = Runs(connect_transport(settings))
        self._serving = Serving(settings, self._runs)
        self._stock = self._serving.stock
        self._steering = Steering(self._runs, self._serving)
        self._locks = LockDesk(self._runs, self._stock)
        self._refusal: tuple[str, float] | None = None
        self._recovery: asyncio.Task[None] | None = None

    async def launch(self, spec: RunSpec) -> None:
        """Accepts a run."""
        run = await self._accepted(spec)
        if run is not None:
            self._serving.begin(run, spec)

    # durable runs ----------------------------------------------------------------------------------------------------

    async def announce(self, spec: RunSpec) -> None:
        """Puts a durable run's first events; :meth:`execute` begins it. Idempotent while the run is remembered.

        Raises:
            LaunchUnavailable: they can't be kept now.
        """
        run = await self._accepted(spec)
        if run is not None:
            run.whole = True
            self._stock.want(spec.environment, WANTED_BY_ADOPTION_S)
            self._runs.rest(run)

    async def execute(self, spec: RunSpec, again: bool = False) -> AttemptOutcome | None:
        """Begins the attempt that the spec names, unless it's here already; a held call until it's over.

        A living process of an earlier attempt is ended first.

        Args:
            again: an earlier call may have begun it. None then, if that can't be told here.
        """
        await self._recovered()
        number = spec.attempt.number
        if again and ((known := self._runs.find(spec.fid)) is None or not known.whole):
            return None
        while True:
            run = self._runs.find(spec.fid) or self._found_anew(spec)
            if number < run.number:
                return AttemptOutcome(AttemptEnd.CLOSED, "A later attempt has begun.")
            if number == run.number:
                break
            if run.due_end is not None:
                await run.over.wait()
            if run.over.is_set():
                return AttemptOutcome(AttemptEnd.CLOSED, "The execution has its end.")
            if run.fid not in self._runs.living:
                self._serving.begin(run, spec)
                break
            await self._serving.supersede(run, f"Attempt {number} was begun.")
        return await asyncio.shield(run.outcome)

    async def attach(self, fid: str, number: int) -> AttemptOutcome | None:
        """Returns when an attempt is over; None: it is unknown here."""
        await self._recovered()
        run = self._runs.find(fid)
        if run is None or run.number < number:
            return None
        if run.number > number:
            return AttemptOutcome(AttemptEnd.CLOSED, "A later attempt has begun.")
        return await asyncio.shield(run.outcome)

    async def end(self, fid: str, username: str, reason: str) -> bool:
        """Puts the end of an execution that nobody shall serve any more; False: it had its end."""
        await self._recovered()
        run = self._runs.find(fid)
        if run is None:
            producer = self._runs.transport.producer(fid, username)
            try:
                return await put_end(producer, reason)
            finally:
                await producer.close()
        return await self._steering.end(run, reason)

    # steering --------------------------------------------------------------------------------------------------------

    async def cancel(self, fid: str, by: str) -> bool:
        """Ends a run; returns when its terminal event is in the transport."""
        await self._recovered()
        return await self._steering.cancel(fid, by)

    async def pause(self, fid: str, by: str, owner: str | None = None) -> bool:
        """Has a run wait; returns when that is in the transport.

        Args:
            owner: role id of the owner of a durable run that lives elsewhere, if it isn't known here: one that has
                lost its process together with the pool. None: an unknown run is none.
        """
        await self._recovered()
        if owner is not None and self._runs.find(fid) is None:
            self._runs.meet(fid, owner)
        return await self._steering.pause(fid, by)

    async def resume(self, fid: str, by: str, owner: str | None = None) -> bool:
        """Lets a paused run go on; returns when that is in the transport. ``owner``: as :meth:`pause` takes it."""
        await self._recovered()
        if owner is not None and self._runs.find(fid) is None:
            self._runs.meet(fid, owner).paused_by = by
        return await self._steering.resume(fid, by)

    # what is known ---------------------------------------------------------------------------------------------------

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        """Those that run, wait or have no end in the transport yet.

        Not a durable run between its attempts: whoever sees to them knows it, or it's lost.
        """
        await self._recovered()
        return frozenset(fid for fid in fids if fid in self._runs.living)

    async def places(self) -> dict[str, int]:
        """Place of each waiting run, 1 is next."""
        return {run.fid: place for place, run in enumerate(self._serving.waiting, start=1)}

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Keeps warm processes ready for an app for the next ``wanted_s`` seconds."""
        await self._recovered()
        self._stock.want(environment, wanted_s)
        self._stock.keep_warm(environment.key)

    async def configure(self, settings: Settings) -> None:
        """Makes these settings the cluster's: limits at once, the transport for runs launched from now on."""
        self._configured = True
        self._apply(settings)
        await asyncio.to_thread(publish, SETTINGS_KEY, settings.model_dump_json(warnings=False).encode())

    def _apply(self, settings: Settings) -> None:
        if _transport_settings(settings) != _transport_settings(self._settings):
            self._runs.transport = connect_transport(settings)
        setup_last_resort(settings.log_format, PROCESS)
        self._settings = self._stock.settings = settings
        self._serving.dispatch()

    async def refuse(self, reason: str | None) -> None:
        """Refuses launches for a while (the store can't keep them); None takes them again."""
        self._refusal = (reason, time.monotonic() + REFUSAL_LIFETIME_S) if reason else None

    async def figures(self) -> dict[str, int]:
        """Counts for health."""
        return {
            "waiting": len(self._serving.waiting),
            "running": self._stock.busy,
            "awaiting": self._stock.awaiting,
            "paused": sum(run.paused_by is not None for run in self._runs.living.values()),
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
        await self._recovered()
        return await self._locks.lock(fid, lid)

    async def claim_lock(self, fid: str, lid: str, claim: str) -> tuple[LockClaim, str]:
        """Begins to answer a lock; a held call while another claim is worked on.

        Returns:
            The claim, and the name of the runner's actor, which can be asked directly from now on; "": it can't.
        """
        await self._recovered()
        claimed = await self._locks.claim(fid, lid, claim)
        run = self._runs.unended(fid)
        return claimed, run.process.name if run is not None and run.process is not None else ""

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        """Ends a claim; returns when the answer's event is in the transport."""
        await self._recovered()
        await self._locks.settle(fid, lid, claim, answer)

    async def waits(self, fid: str, waiting: bool, open_locks: tuple[OpenLock, ...] = ()) -> None:
        """Told by a runner: its run waits for a lock, or goes on; of a durable run, which locks are open."""
        await self._recovered()
        run = self._runs.living.get(fid)
        if run is not None and run.process is not None:
            run.open_locks = open_locks
            self._serving.rests(run, waits=waiting)

    # accepting -------------------------------------------------------------------------------------------------------

    async def _accepted(self, spec: RunSpec) -> Run | None:
        """A new run whose first events are in the transport; None: it's known already."""
        await self._recovered()
        if self._runs.find(spec.fid) is not None:
            return None
        self._check_refusal()
        # Known before its first event can be stored: so the spooler never takes it for a lost one.
        run = self._runs.add(spec)
        try:
            async with run.putting, asyncio.timeout(PUT_TIMEOUT_S):
                await run.producer.put(head_events(spec))
        except (TransportError, TimeoutError) as exc:
            self._runs.drop(run)
            reason = str(exc) or "the event queue is full and nothing is being stored"
            raise LaunchUnavailable(f"The run was not started: {reason}. Try again later.") from exc
        return run

    def _check_refusal(self) -> None:
        if self._refusal is not None and time.monotonic() < self._refusal[1]:
            raise LaunchUnavailable(f"The run was not started: {self._refusal[0]}. Try again later.")

    def _found_anew(self, spec: RunSpec) -> Run:
        """A durable run that this pool has never heard of, or doesn't remember."""
        run = self._runs.add(spec)
        self._runs.rest(run)
        if spec.attempt.paused_by is not None:
            self._steering.paused_before(run, spec.attempt.paused_by)
        return run

    # after a restart -------------------------------------------------------------------------------------------------

    async def _recovered(self) -> None:
        if self._recovery is None or (self._recovery.done() and self._recovery.exception()):
            self._recovery = asyncio.create_task(self._recover())
        await asyncio.shield(self._recovery)

    async def _recover(self) -> None:
        """Finds the settings and the runners of an earlier pool, before anything is said about what is known."""
        await self._recover_settings()
        actors = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
        names = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
        await asyncio.gather(*(self._adopt(name) for name in names if name.startswith(NAME_PREFIX)))

    async def _recover_settings(self) -> None:
        """Those of the last :meth:`configure`: with others, what is launched now could go where nobody reads."""
        kept = await asyncio.to_thread(published, SETTINGS_KEY)
        if kept is not None and not self._configured:
            self._apply(Settings.model_construct(**json.loads(kept)))

    async def _adopt(self, name: str) -> None:
        try:
            process = await asyncio.to_thread(RunnerProcess.adopt, name)
        except ValueError:
            return
        try:
            async with asyncio.timeout(ADOPT_TIMEOUT_S):
                current = await process.current(this_actor())
        except (RayError, TimeoutError) as exc:
            logger.warning("runner %s does not answer and is ended: %s", name, exc)
            process.end()
            return
        self._stock.adopt(process, WANTED_BY_ADOPTION_S, at_work=current is not None)
        if current is not None:
            # A producer of no attempt, like that of a run that was accepted here.
            ticket = replace(current.ticket, attempt=None)
            run = self._runs.add(current.spec, transport_from(ticket).producer_from(ticket))
            self._serving.adopt(run, process, current)


def _transport_settings(settings: Settings) -> dict[str, object]:
    """What a transport is made of."""
    prefixes = ("event_transport", "redis_", "queue_", "ray_queues")
    return {name: value for name, value in settings.model_dump().items() if name.startswith(prefixes)}
