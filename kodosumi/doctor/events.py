"""The transport of events. Redis is asked with the driver, the address and the user that runs have."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..config import Settings
from ..error import TransportUnavailable
from ..transport import connect_transport
from .clocks import compared
from .report import Finding, fine, warning, wrong

if TYPE_CHECKING:
    from ..transport.redis.connection import Connection

VARIABLE = "KODO_REDIS_URL"
HOW_TO = "the how-to *Scale the spooler*"
RIGHTS = "Give the user of KODO_REDIS_URL `~{prefix}* +@read +@write +@scripting +@connection +@blocking +info +time`."
"""As docs/notes/redis.md lists them."""

DENIED = "may not do that"
"""In the words of ``transport/redis/failures.py``."""


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the chosen transport is there and keeps what it accepts."""
    if settings.event_transport != "redis":
        # Says which there are, when it's none of them.
        await connect_transport(settings).close()
        yield fine("transport", f"{settings.event_transport}: nothing of its own to look at")
        return
    if find_spec("redis") is None:
        return
    from ..transport.redis.address import Address
    from ..transport.redis.connection import Connection

    connection = Connection(Address(settings.redis_url), settings.redis_block_ms)
    try:
        info = await connection.command("INFO")
        if "redis_version" not in info:  # of a cluster: each node's
            info = next(iter(info.values()))
        yield fine("Redis", f"{connection.address.shown}: version {info.get('redis_version', 'unknown')}")
        yield policy(info)
        yield await _persistence(connection, info)
        yield await _rights(connection, settings.redis_stream_prefix)
        yield await _clock(connection)
        yield await _spoolers(settings)
    except TransportUnavailable as exc:
        yield _failed(settings, exc)
    finally:
        await connection.close()


def policy(info: Mapping[str, Any]) -> Finding:
    """Whether Redis may throw events away when its memory is full.

    Args:
        info: its answer to INFO.
    """
    chosen, limit = info.get("maxmemory_policy", "noeviction"), info.get("maxmemory", 0)
    remedy = "Run `redis-cli config set maxmemory-policy noeviction`, and write it into redis.conf."
    if chosen == "noeviction":
        return fine("eviction", "maxmemory-policy noeviction")
    if limit:
        return wrong("eviction", f"maxmemory-policy {chosen}: events may be thrown away", remedy)
    return warning("eviction", f"maxmemory-policy {chosen}: harmless only until maxmemory is set", remedy)


async def _persistence(connection: Connection, info: Mapping[str, Any]) -> Finding:
    if info.get("aof_enabled"):
        return fine("persistence", "appendonly yes")
    saves = False
    with contextlib.suppress(TransportUnavailable):  # many users may not ask: the worse is said then
        saves = bool((await connection.command("CONFIG GET", "save")).get("save"))
    if saves:
        text = "snapshots only: a crash loses what came since the last"
    else:
        text = "appendonly no: a crash loses what is on its way"
    return warning("persistence", text, f"Run Redis with `--appendonly yes`, see {HOW_TO}.")


async def _rights(connection: Connection, prefix: str) -> Finding:
    """Asks for each kind of command in a way that changes nothing: of a key that isn't there, to be left so."""
    key = f"{prefix}doctor:{secrets.token_hex(8)}"
    harmless: tuple[tuple[str | int, ...], ...] = (
        ("EXISTS", key),
        ("GET", key),
        ("SET", key, "", "XX"),
        ("DEL", key),
        ("PEXPIRE", key, 1),
        ("HMGET", key, "field"),
        ("HDEL", key, "field"),
        ("SMEMBERS", key),
        ("SREM", key, "member"),
        ("ZRANGE", key, 0, 0),
        ("ZREM", key, "member"),
        ("XADD", key, "NOMKSTREAM", "*", "field", "value"),
        ("XTRIM", key, "MAXLEN", 0),
        ("XACK", key, "group", "1-1"),
        ("XREAD", "COUNT", 1, "STREAMS", key, "0"),
        ("XREADGROUP", "GROUP", "group", "consumer", "STREAMS", key, ">"),
        ("BLPOP", key, "0.05"),
        ("EVAL", "return 0", 1, key),
        ("TIME",),
    )
    denied = []
    for words in harmless:
        try:
            await connection.command(*words)
        except TransportUnavailable as exc:
            if DENIED in str(exc):
                denied.append(str(words[0]))
            elif "XREADGROUP" not in words:  # which is told that there's no such stream
                raise
    if denied:
        return wrong(
            "rights", f"its user may not use {', '.join(denied)} on keys {prefix}*", RIGHTS.format(prefix=prefix)
        )
    return fine("rights", f"its user may use what is needed on keys {prefix}*")


async def _clock(connection: Connection) -> Finding:
    before_s = time.time()
    seconds, micros = await connection.command("TIME")
    return compared(int(seconds) + int(micros) / 1e6, before_s, time.time())


async def _spoolers(settings: Settings) -> Finding:
    transport = connect_transport(settings)
    try:
        status = await transport.status()
    finally:
        await transport.close()
    if status.consumers:
        return fine("spooler", f"{status.consumers} alive, {status.waiting_events} events wait")
    return warning("spooler", f"none is alive, {status.waiting_events} events wait", "Start one: `koco spool`.")


def _failed(settings: Settings, exc: TransportUnavailable) -> Finding:
    if DENIED in str(exc):
        return wrong("rights", str(exc), RIGHTS.format(prefix=settings.redis_stream_prefix))
    return wrong("Redis", str(exc), f"Start it, or correct {VARIABLE}; {HOW_TO} says how.")
