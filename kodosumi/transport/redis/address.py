"""``KODO_REDIS_URL``: what it may look like, and a client for what it names.

``redis://``, ``rediss://`` and ``unix://`` are redis-py's own. ``redis+sentinel://user:password@a:26379,b:26379/service/0``
names sentinels, ``redis+cluster://user:password@a:6379,b:6379`` nodes of a cluster; ``rediss+…`` the same with TLS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from ...error import ConfigurationError
from .driver import redis

CONNECT_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 256

_URL = re.compile(
    r"(?P<scheme>(rediss?(\+(sentinel|cluster))?|unix))://"
    r"((?P<login>[^@/]*(@[^@/]*)*)@)?(?P<hosts>[^/?@]*)(?P<path>/[^?]*)?(\?(?P<query>.*))?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, read.

    Args:
        url: see the module.

    Raises:
        ConfigurationError: it can't be read; the text holds nothing of it.
    """

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        match = self._match()
        try:
            _hosts(match["hosts"])
            if self.kind == "sentinel":
                self._service()
            elif self.kind == "server":
                _parse(self.url)
        except ValueError:
            raise _unreadable() from None

    @property
    def kind(self) -> str:
        """``server``, ``sentinel`` or ``cluster``."""
        return str(self._match()["scheme"].partition("+")[2] or "server")

    @property
    def in_cluster(self) -> bool:
        """Whether keys lie on several servers."""
        return self.kind == "cluster"

    @property
    def shown(self) -> str:
        """Where it points to, for log lines: no password, no parameters."""
        match = self._match()
        user = self.user
        return f"{match['scheme']}://{user + '@' if user else ''}{match['hosts']}{match['path'] or ''}"

    @property
    def user(self) -> str:
        """Who logs in; empty when nobody is named."""
        return unquote((self._match()["login"] or "").partition(":")[0])

    @property
    def secrets(self) -> set[str]:
        """What must not be shown."""
        match = self._match()
        password = (match["login"] or "").partition(":")[2]
        given = [value for name, value in parse_qsl(match["query"] or "") if "password" in name]
        return {text for one in (password, unquote(password), *given) if len(text := one) > 2}

    def client(self, timeout_s: float) -> Any:
        """A new client for the running loop; it has connected to nothing.

        Args:
            timeout_s: longest wait for an answer, seconds.
        """
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "protocol": 2,
        }
        if self.kind == "server":
            return redis.asyncio.Redis.from_url(
                self.url, **_no_retries(), **self._server_options(options), max_connections=MAX_CONNECTIONS
            )
        match = self._match()
        options |= self._login() | self._parameters()
        if self.kind == "cluster":
            nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in _hosts(match["hosts"], 6379)]
            if match["scheme"].startswith("rediss"):
                options["ssl"] = True
            # The client's own retries are what follows a slot that moves or a node that is replaced.
            return redis.asyncio.RedisCluster(startup_nodes=nodes, **options, max_connections=MAX_CONNECTIONS)
        if match["scheme"].startswith("rediss"):
            options["ssl"] = True
        service, db = self._service()
        inner = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl", "protocol"))}
        inner["socket_timeout"] = CONNECT_TIMEOUT_S
        inner |= _no_retries()
        inner |= {
            name.removeprefix("sentinel_"): options.pop(name) for name in list(options) if name.startswith("sentinel_")
        }
        make: Any = redis.asyncio.Sentinel
        sentinel = make(_hosts(match["hosts"], 26379), sentinel_kwargs=inner, db=db, **_no_retries(), **options)
        return sentinel.master_for(service, redis_class=_SentinelMaster, max_connections=MAX_CONNECTIONS)

    def _server_options(self, options: dict[str, Any]) -> dict[str, Any]:
        # A socket file knows nothing of TCP.
        return {name: value for name, value in options.items() if name != "socket_keepalive" or "unix:" not in self.url}

    def _login(self) -> dict[str, Any]:
        user, _, password = (self._match()["login"] or "").partition(":")
        login = {"username": unquote(user), "password": unquote(password)}
        return {name: value for name, value in login.items() if value}

    def _parameters(self) -> dict[str, Any]:
        query = self._match()["query"] or ""
        # redis-py knows what its parameters are; the host is nothing but a place for them.
        found: dict[str, Any] = _parse(f"redis://h?{query}")
        for name in ("host", "port", "db", "connection_class"):
            found.pop(name, None)
        return found

    def _service(self) -> tuple[str, int]:
        service, _, db = (self._match()["path"] or "").strip("/").partition("/")
        if not service:
            raise ValueError("no service")
        return unquote(service), int(db or 0)

    def _match(self) -> re.Match[str]:
        match = _URL.fullmatch(self.url)
        if match is None:
            raise _unreadable()
        return match


class _SentinelMaster(redis.asyncio.Redis):
    """A master found by sentinels, which are left with it: redis-py leaves their connections open."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _parse(url: str) -> dict[str, Any]:
    parse: Any = redis.connection.parse_url
    return dict(parse(url))


def _no_retries() -> dict[str, Any]:
    # We do it ourselves, and say so.
    return {"retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)}


def _hosts(text: str, port: int = 0) -> list[tuple[str, int]]:
    hosts = []
    for one in text.split(","):
        match = re.fullmatch(r"(\[[^\]]+\]|[^:]*)(?::(\d+))?", one)
        if match is None:
            raise ValueError(one)
        hosts.append((match[1].strip("[]"), int(match[2] or port)))
    return hosts


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "KODO_REDIS_URL cannot be read; write redis://user:password@host:6379/0 (rediss:// with TLS, unix:///path, "
        "redis+sentinel://host:26379/service/0, redis+cluster://host:6379), special characters of the password "
        "percent-encoded (@ as %40, / as %2F)"
    )
