"""Execution mode ``direct``: the pool on the Ray cluster runs what is launched."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from .. import cluster
from ..cluster import NAMESPACE
from ..config import Settings
from ..error import ClusterError, ExecutionNotFound, KodosumiError, LaunchUnavailable, LockError, PayloadTooLarge
from ..runner.lock_types import LockAnswer, LockClaim, OpenLock
from ..runner.locks import CLAIM_LIFETIME_S
from ..runner.pool import RunnerPool
from ..runner.spec import AppEnvironment, AttemptOutcome, RunSpec
from ..runner.tasks import BackgroundTasks
from .known_runners import KnownRunners

POOL_NAME = "pool"
POOL_CALLS = 10_000
"""Calls the pool answers at once; most are held."""

ANSWER_TIMEOUT_S = 30.0
CLAIM_TIMEOUT_S = CLAIM_LIFETIME_S + ANSWER_TIMEOUT_S
RESTART_PATIENCE_S = 25.0
"""So long a call about a lock is made again when the pool dies under it: it is the same call then."""

RESTART_PAUSE_S = 0.25
POOL_SETTINGS = {
    "event_transport",
    "lock_expires",
    "log_format",
    "max_event_bytes",
    "max_runs",
    "queue_max_bytes",
    "queue_max_events",
    "ray_queues",
    "redis_block_ms",
    "redis_consumer_group",
    "redis_max_stream_len",
    "redis_stream_prefix",
    "redis_url",
    "runner_idle_timeout",
    "runner_max_runs",
    "runner_warm",
}
"""The settings the pool needs. A list of what is sent, so that no secret but the transport's own reaches Ray."""

OWN_ANSWERS = (LockError, ExecutionNotFound, PayloadTooLarge)
"""Errors that the pool answers with, as they are."""

Answer = TypeVar("Answer")


class PoolRestarted(LaunchUnavailable):
    """The pool died under a call, which may have been made or not."""


class DirectMode:
    """Calls the cluster's pool, making it when it's missing.

    Args:
        settings: of this process.
    """

    name = "direct"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Any = None
        self._generation = -1
        self._tasks = BackgroundTasks()
        self._runners = KnownRunners()

    @classmethod
    def from_settings(cls, settings: Settings) -> DirectMode:
        """For the family's factory."""
        return cls(settings)

    async def launch(self, spec: RunSpec) -> None:
        await self._ask(lambda pool: pool.launch.remote(spec))

    async def cancel(self, fid: str, by: str) -> bool:
        return await self._ask(lambda pool: pool.cancel.remote(fid, by))

    async def pause(self, fid: str, by: str, owner: str | None = None) -> bool:
        """As the contract says; ``owner`` (a role id) vouches for a durable run that the pool doesn't know."""
        return await self._ask_again(lambda pool: pool.pause.remote(fid, by, owner))

    async def resume(self, fid: str, by: str, owner: str | None = None) -> bool:
        """As :meth:`pause`."""
        return await self._ask_again(lambda pool: pool.resume.remote(fid, by, owner))

    # for a mode that sees to durable runs' attempts ------------------------------------------------------------------

    async def announce(self, spec: RunSpec) -> None:
        """Puts a durable run's first events, and begins nothing. Idempotent by ``spec.fid`` while it's remembered.

        Raises:
            LaunchUnavailable: they can't be kept, with the reason.
        """
        await self._ask(lambda pool: pool.announce.remote(spec))

    async def execute(self, spec: RunSpec, again: bool = False) -> AttemptOutcome | None:
        """Begins the attempt that the spec names, unless it's known already, and returns when it's over.

        Args:
            again: an earlier call may have begun it. None then, if the cluster can't tell; nothing was begun.

        Raises:
            PoolRestarted: the pool died meanwhile; the run's process goes on, if it had begun.
            LaunchUnavailable: the cluster can't be reached, with the reason.
        """
        return await self._ask(lambda pool: pool.execute.remote(spec, again), None)

    async def attach(self, fid: str, number: int) -> AttemptOutcome | None:
        """Returns when an attempt is over; None: it's unknown to the cluster.

        Raises:
            As :meth:`execute`.
        """
        return await self._ask(lambda pool: pool.attach.remote(fid, number), None)

    async def end(self, fid: str, username: str, reason: str) -> bool:
        """Puts ``error`` with the reason as a run's end; who still serves it is killed. False: it had its end.

        Args:
            username: role id of its owner.
        """
        return await self._ask_again(lambda pool: pool.end.remote(fid, username, reason))

    # locks -----------------------------------------------------------------------------------------------------------

    async def lock(self, fid: str, lid: str) -> OpenLock:
        return await self._of_lock(
            fid, lambda runner: runner.open_lock.remote(fid, lid), lambda pool: pool.lock.remote(fid, lid)
        )

    async def claim_lock(self, fid: str, lid: str) -> LockClaim:
        claim = uuid.uuid4().hex
        try:
            return await self._claimed(fid, lid, claim)
        except BaseException as exc:
            if not isinstance(exc, LockError | ExecutionNotFound):
                # It may be held, or be in the queue, with nobody left to settle it.
                self._tasks.spawn(self._give_up(fid, lid, claim))
            raise

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        await self._of_lock(
            fid,
            lambda runner: runner.settle_lock.remote(fid, lid, claim, answer),
            lambda pool: pool.settle_lock.remote(fid, lid, claim, answer),
        )

    async def _claimed(self, fid: str, lid: str, claim: str) -> LockClaim:
        async def by_pool() -> LockClaim:
            claimed: LockClaim
            claimed, name = await self._ask_again(lambda pool: pool.claim_lock.remote(fid, lid, claim), CLAIM_TIMEOUT_S)
            self._runners.learn(fid, name)
            return claimed

        return await self._runners.asked(
            fid, lambda runner: runner.claim_lock.remote(fid, lid, claim), by_pool, CLAIM_TIMEOUT_S
        )

    async def _of_lock(
        self, fid: str, of_runner: Callable[[Any], Awaitable[Answer]], of_pool: Callable[[Any], Awaitable[Answer]]
    ) -> Answer:
        return await self._runners.asked(fid, of_runner, lambda: self._ask_again(of_pool), ANSWER_TIMEOUT_S)

    # the cluster -----------------------------------------------------------------------------------------------------

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return await self._ask(lambda pool: pool.known.remote(list(fids)))

    async def places(self) -> dict[str, int]:
        return await self._ask(lambda pool: pool.places.remote())

    async def configure(self) -> None:
        await self._ask(lambda pool: pool.configure.remote(_pool_settings(self._settings)))

    async def refuse(self, reason: str | None) -> None:
        await self._ask(lambda pool: pool.refuse.remote(reason))

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        await self._ask(lambda pool: pool.warm.remote(environment, wanted_s))

    async def figures(self) -> dict[str, int]:
        return await self._ask(lambda pool: pool.figures.remote())

    async def restarted(self) -> None:
        pool = await self._connected()
        try:
            await _answer(pool, lambda pool: pool.watch.remote())
        except (ClusterError, RayError):
            self._pool = None

    async def close(self) -> None:
        self._pool = None
        self._runners.forget()

    async def _give_up(self, fid: str, lid: str, claim: str) -> None:
        with contextlib.suppress(KodosumiError):
            await self.settle_lock(fid, lid, claim, None)

    async def _ask_again(
        self, call: Callable[[Any], Awaitable[Answer]], timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> Answer:
        """For calls that may be made twice: the pool's death under one makes it wait for its restart, no more."""
        patient_until = time.monotonic() + RESTART_PATIENCE_S
        while True:
            try:
                return await self._ask(call, timeout_s)
            except PoolRestarted:
                if time.monotonic() > patient_until:
                    raise
            await asyncio.sleep(RESTART_PAUSE_S)

    async def _ask(
        self, call: Callable[[Any], Awaitable[Answer]], timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> Answer:
        pool = await self._connected()
        try:
            # Not wait_for, which in Python 3.11 loses a cancellation that comes with the answer.
            async with asyncio.timeout(timeout_s):
                answer: Answer = await _answer(pool, call)
            return answer
        except RayActorError as exc:
            self._pool = None
            raise PoolRestarted("The cluster's runner pool was restarted. Try again.") from exc
        except ClusterError as exc:
            self._pool = None
            raise LaunchUnavailable(str(exc)) from exc
        except (RayError, TimeoutError) as exc:
            if isinstance(exc, RayTaskError) and isinstance(exc.cause, OWN_ANSWERS):
                raise exc.cause from None
            if isinstance(exc, LaunchUnavailable):
                # Ray's copy of it says where it was raised; a user is told the reason alone.
                raise LaunchUnavailable(str(getattr(exc, "cause", exc))) from exc
            self._pool = None
            raise LaunchUnavailable("The cluster's runner pool does not answer. Is Ray running?") from exc

    async def _connected(self) -> Any:
        if self._pool is None or self._generation != cluster.membership.generation:
            try:
                await cluster.attached(self._settings)
                # Before: a cluster that is left meanwhile makes it outdated, never the other way round.
                self._generation = cluster.membership.generation
                self._pool = await cluster.membership.blocking(_get_or_make_pool, _pool_settings(self._settings))
            except (ClusterError, RayError, ValueError) as exc:
                raise LaunchUnavailable(f"The Ray cluster cannot be used: {exc}") from exc
        return self._pool


async def _answer(pool: Any, call: Callable[[Any], Any]) -> Any:
    with cluster.membership.call():
        reference = call(pool)
    return await cluster.membership.reply(reference)


_making = threading.Lock()
"""Ray's own lazy imports don't bear two threads that make their first handle at once."""


def _get_or_make_pool(settings: Settings) -> Any:
    with _making:
        return _pool_handle(settings)


def _pool_handle(settings: Settings) -> Any:
    pool = ray.remote(RunnerPool).options(
        name=POOL_NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        label_selector=cluster.ON_WORKING_NODES,
        max_restarts=-1,
        max_concurrency=POOL_CALLS,
    )
    return pool.remote(settings)


def _pool_settings(settings: Settings) -> Settings:
    return Settings.model_construct(**settings.model_dump(include=POOL_SETTINGS))
