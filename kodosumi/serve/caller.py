"""Who calls an app: the user that a panel vouches for with a signed token, else nobody.

A bare user header is never believed: everyone can send one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import cluster
from ..config import process_settings
from ..const import KODOSUMI_BASE, hyphened
from ..identity import (
    ANONYMOUS,
    GRANT_HEADER,
    PUBLISHED_PREFIX,
    TOKEN_HEADER,
    RunGrant,
    key_id_of,
    verified_grant,
    verified_user,
)

logger = logging.getLogger(__name__)

REREAD_AFTER_S = 3.0
"""Shortest time between two readings of the published keys, whatever unknown keys are claimed meanwhile."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class KeySource(Protocol):
    """Where the public keys of panels come from."""

    async def keys(self, key_id: str) -> Mapping[str, bytes]:
        """The known public keys by id; looks for new ones when this id isn't among them."""
        ...


class ClusterKeys:
    """The keys that panels publish on the Ray cluster, remembered."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._read_at = float("-inf")

    async def keys(self, key_id: str) -> Mapping[str, bytes]:
        """As :meth:`KeySource.keys`; without a cluster there are none, and the log says so."""
        if key_id not in self._known:
            await asyncio.to_thread(self._read, key_id)
        return self._known

    def _read(self, key_id: str) -> None:
        with self._lock:
            if key_id in self._known or time.monotonic() - self._read_at < REREAD_AFTER_S:
                return
            try:
                cluster.attach(process_settings())
                names = cluster.published_keys(PUBLISHED_PREFIX)
                found = {name.removeprefix(PUBLISHED_PREFIX): cluster.published(name) for name in names}
                self._known = {name: key for name, key in found.items() if key is not None}
            except Exception as exc:
                logger.warning("users stay anonymous: the panel's keys can't be read from the cluster: %s", exc)
            self._read_at = time.monotonic()

    def __reduce__(self) -> tuple[Any, ...]:
        return ClusterKeys, ()


class IdentifyCaller:
    """ASGI middleware that says who asks, in ``request.state``.

    It sets ``user`` (role id), ``prefix`` (the app's address) and ``grant`` (what the panel allows the run that this
    request may launch or whose lock it answers; None without a panel).

    Args:
        app: what it serves. keys: whose signatures count.
    """

    def __init__(self, app: ASGIApp, keys: KeySource) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            # Proxies drop names with underscores, so the hyphened twin counts as well.
            base = headers.get(KODOSUMI_BASE) or headers.get(hyphened(KODOSUMI_BASE)) or ""
            user = await self._user(scope, headers, base)
            grant = None if user is None else await self._grant(headers, user)
            scope["state"] = {**scope.get("state", {}), "user": user or ANONYMOUS, "prefix": base, "grant": grant}
        await self.app(scope, receive, send)

    async def _user(self, scope: Scope, headers: Headers, base: str) -> str | None:
        token = headers.get(TOKEN_HEADER)
        key_id = token and key_id_of(token)
        if not token or not key_id or not _is_at(base, headers.get("host", "")):
            return None
        keys = await self._keys.keys(key_id)
        method = scope.get("method", "GET")
        users = (verified_user(token, keys, base, method, path) for path in _paths(scope, base))
        return next((user for user in users if user is not None), None)

    async def _grant(self, headers: Headers, user: str) -> RunGrant | None:
        token = headers.get(GRANT_HEADER)
        key_id = token and key_id_of(token)
        if not token or not key_id:
            return None
        grant = verified_grant(token, await self._keys.keys(key_id))
        # A grant is a run's key for a month: alone, or in another's hand, it proves nothing about this request.
        return grant if grant is not None and grant.username == user else None


def _is_at(base: str, host: str) -> bool:
    """Whether an address names the host that a request was sent to: a token for another app doesn't count here."""
    try:
        address = urlsplit(base)
        asked = urlsplit(f"{address.scheme}://{host}")
        return bool(address.hostname) and (address.hostname, _port(address)) == (asked.hostname, _port(asked))
    except ValueError:
        return False


def _port(address: SplitResult) -> int | None:
    return address.port or _DEFAULT_PORTS.get(address.scheme)


def _paths(scope: Scope, base: str) -> list[str]:
    """Ways to write a request's path: raw and decoded, with and without the app's own prefix."""
    raw = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    prefixes = ("", scope.get("root_path", "").rstrip("/"), urlsplit(base).path.rstrip("/"))
    written = (path.removeprefix(prefix) or "/" for path in (raw, unquote(raw), scope["path"]) for prefix in prefixes)
    return list(dict.fromkeys(written))
