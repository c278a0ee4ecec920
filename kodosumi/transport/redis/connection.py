"""The way to the server: a client per event loop, scripts by their name, every error as one line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ...error import ConfigurationError, TransportUnavailable
from ..link import Patience
from .address import Address
from .driver import FAILURES, check_version, is_failure, redis
from .failures import Problem
from .scripts import Script

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 5.0
CALLS_AT_ONCE = 16
"""Commands on their way at once, per loop; more wait here. Blocking reads don't count."""

CLOSE_S = 2.0

Argument = str | int | bytes
Answer = TypeVar("Answer")
Entry = tuple[str, dict[bytes, bytes]]


class RedisUnavailable(TransportUnavailable):
    """Redis did not do what it was asked.

    Attributes:
        permanent: trying again cannot help. out_of_memory: it takes nothing more now.
    """

    permanent = False
    out_of_memory = False


class Connection:
    """Connects at the first call; may be used from any loop and thread.

    Args:
        address: of the server. block_ms: longest hold of a blocking read.
    """

    def __init__(self, address: Address, block_ms: int) -> None:
        self.address = address
        self.block_ms = block_ms
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = weakref.WeakKeyDictionary()
        self._making = threading.Lock()
        self._checked = False

    @property
    def in_cluster(self) -> bool:
        """Whether keys lie on several servers: then a script may touch those of one slot only."""
        return self.address.in_cluster

    async def run(self, script: Script, keys: Sequence[str], *args: Argument) -> Any:
        """What a script answers.

        Raises:
            RedisUnavailable: no answer; it may have been carried out all the same.
        """
        client = await self._client()
        async with client.calls:
            return await self._translated(client, _evaluate(client.redis, script, keys, args))

    async def persistently(self, script: Script, keys: Sequence[str], *args: Argument) -> Any:
        """What a script answers, tried for a while; only for scripts that may be carried out twice.

        Raises:
            RedisUnavailable: no answer for :data:`kodosumi.transport.link.RETRY_S`.
        """
        patience = Patience()
        while True:
            try:
                return await self.run(script, keys, *args)
            except RedisUnavailable as exc:
                if exc.permanent:
                    raise
                await patience.after(exc)

    async def for_each(
        self,
        script: Script,
        keys: Sequence[Sequence[str]],
        words: Sequence[Argument],
        asked: Sequence[Sequence[Argument]],
        *,
        persist: bool = False,
    ) -> list[Any]:
        """A script's answers for several executions: in one call, or in a cluster in one each.

        Args:
            keys: of each execution. words: for all. asked: of each execution.
            persist: try for a while.

        Raises:
            RedisUnavailable: no answer; it may have been carried out for some.
        """
        call = self.persistently if persist else self.run
        if not keys:
            return []
        if not self.in_cluster:
            every_key = [key for some in keys for key in some]
            answers = await call(script, every_key, *words, *(word for some in asked for word in some))
            return answers if isinstance(answers, list) else []
        each = await asyncio.gather(*(call(script, some, *words, *ask) for some, ask in zip(keys, asked, strict=True)))
        return [answer[0] if isinstance(answer, list) else answer for answer in each]

    async def entries(self, stream: str, after: str, most: int, block_ms: int | None = None) -> list[Entry]:
        """A stream's entries after an id, as ``(id, fields)``; waits for one if told to.

        Raises:
            RedisUnavailable: no answer.
        """
        client = await self._client()
        reading = client.redis.xread({stream: after}, count=most, block=block_ms)
        answer = await self._translated(client, reading, blocks=block_ms is not None)
        return [(entry.decode(), fields) for _, entries in answer or () for entry, fields in entries]

    async def woken(self, key: str, wait_s: float) -> None:
        """Returns when somebody pushed to a list, or after so many seconds.

        Raises:
            RedisUnavailable: no answer.
        """
        client = await self._client()
        await self._translated(client, client.redis.blpop([key], timeout=wait_s), blocks=True)

    async def matching(self, pattern: str) -> list[str]:
        """The names of all keys that match; for once in a while, as the server looks at each.

        Raises:
            RedisUnavailable: no answer.
        """
        client = await self._client()

        async def scan() -> list[str]:
            return [key.decode() async for key in client.redis.scan_iter(match=pattern, count=1000)]

        return await self._translated(client, scan())

    async def command(self, *words: Argument) -> Any:
        """What a plain command answers.

        Raises:
            RedisUnavailable: no answer.
        """
        client = await self._client()
        async with client.calls:
            return await self._translated(client, client.redis.execute_command(*words))

    async def close(self) -> None:
        """Closes the connections of all loops; the next call makes new ones."""
        with self._making:
            clients = dict(self._clients)
            self._clients.clear()
        here = asyncio.get_running_loop()
        for loop, client in clients.items():
            if loop is here:
                await client.close()
            elif loop.is_running():
                with contextlib.suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(client.close(), loop)

    async def _client(self) -> _LoopClient:
        loop = asyncio.get_running_loop()
        with self._making:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = _LoopClient(self.address.client(ANSWER_TIMEOUT_S + self.block_ms / 1000))
        if not self._checked:
            # Once for all who ask now.
            if client.checking is None or client.checking.done():
                client.checking = asyncio.create_task(self._translated(client, self._check(client)))
            await asyncio.shield(client.checking)
        return client

    async def _check(self, client: _LoopClient) -> None:
        """Refuses a server that can't do what is needed."""
        if self.in_cluster:
            infos = await client.redis.info(target_nodes="primaries")
            # Of one node it's the answer, of several it's one by node.
            info = infos if "redis_version" in infos else next(iter(infos.values()))
        else:
            info = await client.redis.info()
        check_version(str(info.get("redis_version", "")), self.address.shown)
        if not self.in_cluster and info.get("cluster_enabled"):
            raise ConfigurationError("it is a cluster: write redis+cluster:// in KODO_REDIS_URL")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            logger.warning(
                "Redis at %s has maxmemory-policy %s and may throw events away: set it to noeviction",
                self.address.shown,
                policy,
            )
        self._checked = True

    async def _translated(
        self, client: _LoopClient, call: Coroutine[Any, Any, Answer], *, blocks: bool = False
    ) -> Answer:
        try:
            return await client.answer(call, blocks=blocks)
        except Exception as exc:
            if not (is_failure(exc) or isinstance(exc, ConfigurationError)):
                raise
            problem = Problem(exc, self.address)
            failure = RedisUnavailable(problem.text)
            failure.permanent, failure.out_of_memory = problem.permanent, problem.out_of_memory
            raise failure from exc


class _LoopClient:
    """A loop's client."""

    def __init__(self, client: Any) -> None:
        self.redis = client
        self.calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self.checking: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[Any]] = set()

    async def answer(self, call: Coroutine[Any, Any, Answer], *, blocks: bool) -> Answer:
        """What a call answers. In a task of its own: redis-py loses the cancellation of its caller now and then."""
        task = asyncio.create_task(call)
        self._asked.add(task)
        task.add_done_callback(self._answered)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise RedisUnavailable("The connection was closed.") from None
            if blocks:
                task.cancel()
            raise

    async def close(self) -> None:
        for task in list(self._asked):
            task.cancel()
        if self._asked:
            await asyncio.wait(self._asked, timeout=CLOSE_S)
        with contextlib.suppress(*FAILURES):
            await self.redis.aclose()

    def _answered(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            # Whoever asked may be gone.
            task.exception()


async def _evaluate(client: Any, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
    try:
        return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
    except redis.exceptions.NoScriptError:
        return await client.execute_command("EVAL", script.source, len(keys), *keys, *args)
