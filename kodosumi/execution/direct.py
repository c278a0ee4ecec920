"""Execution mode ``direct``: the pool on the Ray cluster runs what is launched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayError

from .. import cluster
from ..cluster import NAMESPACE
from ..config import Settings
from ..error import ClusterError, LaunchUnavailable
from ..runner.pool import RunnerPool
from ..runner.spec import AppEnvironment, RunSpec

POOL_NAME = "pool"
POOL_CALLS = 10_000
"""Calls the pool answers at once; most are held."""

ANSWER_TIMEOUT_S = 30.0
POOL_SETTINGS = {
    "event_transport",
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

Answer = TypeVar("Answer")


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

    @classmethod
    def from_settings(cls, settings: Settings) -> DirectMode:
        """For the family's factory."""
        return cls(settings)

    async def launch(self, spec: RunSpec) -> None:
        await self._ask(lambda pool: pool.launch.remote(spec))

    async def cancel(self, fid: str, by: str) -> bool:
        return await self._ask(lambda pool: pool.cancel.remote(fid, by))

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

    async def _ask(self, call: Callable[[Any], Awaitable[Answer]]) -> Answer:
        pool = await self._connected()
        try:
            answer: Answer = await asyncio.wait_for(_answer(pool, call), ANSWER_TIMEOUT_S)
            return answer
        except RayActorError as exc:
            self._pool = None
            raise LaunchUnavailable("The cluster's runner pool was restarted. Try again.") from exc
        except ClusterError as exc:
            self._pool = None
            raise LaunchUnavailable(str(exc)) from exc
        except (RayError, TimeoutError) as exc:
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


def _get_or_make_pool(settings: Settings) -> Any:
    pool = ray.remote(RunnerPool).options(
        name=POOL_NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=POOL_CALLS,
    )
    return pool.remote(settings)


def _pool_settings(settings: Settings) -> Settings:
    return Settings.model_construct(**settings.model_dump(include=POOL_SETTINGS))
