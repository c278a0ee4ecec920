"""Runners whose locks this process answers: asked directly, past the pool, which is one hop less for each call.

A short cut and nothing more: whatever goes wrong on it, or isn't as expected, the pool is asked, which knows better.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from .. import cluster
from ..cluster import NAMESPACE
from ..error import ClusterError, PayloadTooLarge
from ..runner.tasks import BackgroundTasks

logger = logging.getLogger(__name__)

MAX_RUNNERS = 64

Answer = TypeVar("Answer")

FINAL = (PayloadTooLarge,)
"""Errors that the pool would answer with too. Of all others it may know better: the run may have another process."""


class KnownRunners:
    """Handles of runners' actors by execution, a few of the last ones."""

    def __init__(self) -> None:
        self._actors: OrderedDict[str, tuple[int, Any]] = OrderedDict()
        self._tasks = BackgroundTasks()

    def learn(self, fid: str, name: str) -> None:
        """Gets the handle of the actor that serves a run, in the background.

        Args:
            name: of the actor; "": there is none.
        """
        if name and self._known(fid) is None:
            self._tasks.spawn(self._learn(fid, name))

    def forget(self, fid: str | None = None) -> None:
        """Asks the pool again from now on.

        Args:
            fid: about this run; None: about all.
        """
        if fid is None:
            self._actors.clear()
        else:
            self._actors.pop(fid, None)

    async def asked(
        self,
        fid: str,
        call: Callable[[Any], Awaitable[Answer]],
        otherwise: Callable[[], Awaitable[Answer]],
        timeout_s: float,
    ) -> Answer:
        """What the run's process says; when it isn't known or has no final say, what ``otherwise`` says.

        Args:
            call: begins the remote call, which may be made twice. timeout_s: the longest wait for its answer.
        """
        actor = self._known(fid)
        if actor is None:
            return await otherwise()
        try:
            async with asyncio.timeout(timeout_s):
                answer: Answer = await _answer(actor, call)
            return answer
        except RayTaskError as exc:
            if isinstance(exc.cause, FINAL):
                raise exc.cause from None
        except (ClusterError, RayError, TimeoutError) as exc:
            logger.debug("the runner of %s isn't asked directly any more: %s", fid, exc)
        self.forget(fid)
        return await otherwise()

    def _known(self, fid: str) -> Any:
        generation, actor = self._actors.get(fid, (None, None))
        return actor if generation == cluster.membership.generation else None

    async def _learn(self, fid: str, name: str) -> None:
        generation = cluster.membership.generation
        try:
            actor = await cluster.membership.blocking(_handle, name)
        except (ClusterError, RayError, ValueError) as exc:
            logger.debug("the runner of %s can't be found: %s", fid, exc)
            return
        self._actors[fid] = generation, actor
        if len(self._actors) > MAX_RUNNERS:
            self._actors.popitem(last=False)


async def _answer(actor: Any, call: Callable[[Any], Any]) -> Any:
    with cluster.membership.call():
        reference = call(actor)
    return await cluster.membership.reply(reference)


def _handle(name: str) -> Any:
    return ray.get_actor(name, namespace=NAMESPACE)
