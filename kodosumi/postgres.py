"""How every part reaches PostgreSQL: what its URL means, opening a connection, and what the driver's errors mean.

The execution store, the admin database and the migrations all come through here, so that TLS parameters and error
lines are the same everywhere. Nothing here knows a table. asyncpg is imported when a connection is asked for.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

from .error import ConfigurationError

Connection: TypeAlias = Any
"""An ``asyncpg.Connection``; the driver has no types."""

APPLICATION_NAME = "kodosumi"
STATEMENT_CACHE_SIZE = 100

_URL = re.compile(
    r"(?P<scheme>[a-z]+)(?:\+\w+)?://"
    r"(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<hosts>[^/?#@]*)(?:/(?P<database>[^?@]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_HOST = re.compile(r"(?:\[[^\]]+\]|[^:\[\]]*)(?::\d{1,5})?")
_TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_TLS_WORDS = {"true": "require", "1": "require", "on": "require", "false": "disable", "0": "disable", "off": "disable"}
_OTHERS = re.compile(
    r"connect_timeout|command_timeout|timeout|channel_binding|gssencmode|keepalives\w*|sslsni|sslcompression"
    r"|tcp_user_timeout|\w*statement_cache_size|prepared_statement_name_func"
)
"""Parameters of other drivers: asyncpg would send them on to the server, which refuses what it doesn't know."""


class _Parts(NamedTuple):
    user: str
    password: str | None
    hosts: str
    database: str
    query: dict[str, str]


def dsn_of(url: str) -> str:
    """The URL as asyncpg reads it.

    Takes ``postgresql://`` with or without ``+driver``, several hosts (``a:1,b:2`` or repeated ``host=``), TLS as
    ``sslmode=`` or ``ssl=``, and passwords percent-encoded or not.

    Raises:
        ConfigurationError: it is no such URL; the text holds nothing of it.
    """
    parts = _parsed(url)
    login = quote(parts.user, safe="")
    if parts.password is not None:
        login += ":" + quote(parts.password, safe="")
    query = {"application_name": APPLICATION_NAME, **parts.query}
    at = f"{login}@" if login else ""
    path = f"/{quote(parts.database, safe='')}" if parts.database else ""
    return f"postgresql://{at}{parts.hosts}{path}?{urlencode(query, quote_via=quote)}"


def shown(url: str) -> str:
    """The URL for log lines and errors: neither password nor parameters, which may hold one."""
    try:
        parts = _parsed(url)
    except ConfigurationError:
        return "postgresql://…"
    user = f"{quote(parts.user, safe='')}@" if parts.user else ""
    return f"postgresql://{user}{parts.hosts or parts.query.get('host', '')}/{parts.database}"


async def connect(
    url: str,
    *,
    settings_name: str,
    connect_timeout_s: float,
    command_timeout_s: float | None = None,
    statement_cache_size: int = STATEMENT_CACHE_SIZE,
    **options: Any,
) -> Connection:
    """A new connection.

    Args:
        url: see :func:`dsn_of`.
        settings_name: the variable that holds the URL, for error texts.
        connect_timeout_s: longest time to wait for it, seconds.
        command_timeout_s: longest time to wait for the answer to one command, seconds.
        statement_cache_size: named prepared statements kept; 0 behind a pooler in transaction mode.
        options: more of ``asyncpg.connect``.

    Raises:
        ConfigurationError: trying again cannot help; one line says why.
        Exception: anything else of the driver or the system, see :func:`explain`.
    """
    asyncpg = driver(settings_name)
    try:
        dsn = dsn_of(url)
        _require_files(url)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{settings_name}: {exc}") from None
    try:
        return await asyncpg.connect(
            dsn,
            timeout=connect_timeout_s,
            command_timeout=command_timeout_s,
            statement_cache_size=statement_cache_size,
            **options,
        )
    except Exception as exc:
        if permanent(exc):
            raise ConfigurationError(explain(exc, url, settings_name)) from exc
        raise


def driver(settings_name: str) -> Any:
    """The module ``asyncpg``.

    Raises:
        ConfigurationError: it isn't installed; names the extra.
    """
    try:
        import asyncpg
    except ImportError:
        raise ConfigurationError(
            f"{settings_name} names a PostgreSQL database, whose driver is missing: install `kodosumi[postgres]`."
        ) from None
    return asyncpg


async def is_pooled(connection: Connection) -> bool:
    """Whether a pooler such as pgbouncer stands between: the process that answers is not the one that was greeted.

    Asked without a prepared statement, which a pooler could send to another server connection.
    """
    status = await connection.execute(f"SELECT 1 WHERE pg_backend_pid() = {int(connection.get_server_pid())}")
    return bool(status != "SELECT 1")


def sqlstate(exc: BaseException) -> str | None:
    """PostgreSQL's code of an error, whichever driver or SQLAlchemy raised it; None when there is none."""
    states = [state for one in _chain(exc) if isinstance(state := getattr(one, "sqlstate", None), str)]
    if states and states[0] not in _VAGUE:
        return states[0]
    # poolers and psycopg tell in words only why a connection was refused
    text = "\n".join(str(one) for one in _chain(exc))
    told = next((state for pattern, state in _WORDS if re.search(pattern, text)), None)
    return told or next(iter(states), None)


def permanent(exc: BaseException) -> bool:
    """Whether connecting again cannot help: wrong password, unknown database or host, unusable TLS files, …

    A server that is down, starting, full or slow may come back, so those are not.
    """
    if sqlstate(exc) in _PERMANENT:
        return True
    for one in _chain(exc):
        if isinstance(one, ConfigurationError):
            return True
        if isinstance(one, socket.gaierror):
            return one.errno != socket.EAI_AGAIN
        if isinstance(one, ssl.SSLError):
            return not isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
        if "rejected SSL upgrade" in str(one) or type(one).__name__ == "ClientConfigurationError":
            return True
    return False


def explain(exc: BaseException, url: str, settings_name: str) -> str:
    """One line that says what is wrong and what to do, without any credential.

    Args:
        exc: what the driver, SQLAlchemy or the system raised.
        url: where it was to go. settings_name: the variable that holds it.
    """
    if isinstance(exc, ConfigurationError):
        return str(exc)
    try:
        parts = _parsed(url)
    except ConfigurationError as bad:
        return f"{settings_name}: {bad}"
    where = parts.hosts or parts.query.get("host", "") or "the local socket"
    names = {"name": settings_name, "user": parts.user, "database": parts.database, "where": where}
    state = sqlstate(exc)
    said = _without(parts.password, " ".join(str(exc).split("\n", 1)[0].split())[:300]) or type(exc).__name__
    reason = _REASONS.get(state or "") or _of_system(exc)
    if state == "28000" and ("no encryption" in str(exc) or "SSL off" in str(exc)):
        reason = 'the server takes only TLS connections from user "{user}": add `?sslmode=require` to {name}'
    if reason is None:
        return f"PostgreSQL at {where} ({settings_name}): {said}."
    return f"PostgreSQL at {where}: {reason.format(**names, said=said)}."


def _parsed(url: str) -> _Parts:
    match = _URL.fullmatch(url)
    if match is None or match["scheme"] not in ("postgresql", "postgres"):
        raise _unreadable()
    hosts = match["hosts"]
    if not all(_HOST.fullmatch(host) for host in unquote(hosts).split(",") if not host.startswith("/")):
        raise _unreadable()
    query: dict[str, str] = {}
    for key, value in parse_qsl(match["query"] or "", keep_blank_values=True):
        if key == "host" and "host" in query:
            value = f"{query['host']},{value}"
        query[key] = value
    mode = query.pop("ssl", None)
    if mode is not None:
        query.setdefault("sslmode", _TLS_WORDS.get(mode.lower(), mode))
    password = query.get("password") if match["password"] is None else unquote(match["password"])
    kept = {key: value for key, value in query.items() if value and not _OTHERS.fullmatch(key)}
    return _Parts(
        unquote(match["user"] or "") or query.get("user", ""),
        password,
        hosts,
        unquote(match["database"] or ""),
        kept,
    )


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "the database URL cannot be read; write postgresql+asyncpg://user:password@host:5432/database "
        "with special characters of the password percent-encoded (@ as %40, / as %2F)"
    )


def _require_files(url: str) -> None:
    """Fails when a TLS file is missing: the driver's error doesn't name it, and looks like a missing socket."""
    query = _parsed(url).query
    for name in _TLS_FILES:
        if name in query and not Path(query[name]).is_file():
            raise ConfigurationError(f"{name}={query[name]} is not a file that can be read")


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The error, what SQLAlchemy wrapped in it, and its causes."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [exc]
    while waiting and len(seen) < 8:
        one = waiting.pop(0)
        if one is not None and one not in seen:
            seen.append(one)
            orig = getattr(one, "orig", None)
            waiting += [orig if isinstance(orig, BaseException) else None, one.__cause__]
            yield one


def _without(password: str | None, text: str) -> str:
    for secret in {password, quote(password or "", safe="")}:
        if secret and len(secret) > 2:
            text = text.replace(secret, "…")
    return text


def _of_system(exc: BaseException) -> str | None:
    """What errors say that didn't come from the server."""
    text = " ".join(str(one) for one in _chain(exc))
    for one in _chain(exc):
        if isinstance(one, socket.gaierror):
            return "its host name is unknown: correct the host in {name}"
        if isinstance(one, ssl.SSLCertVerificationError):
            return "its TLS certificate is not trusted ({said}): check `sslrootcert` and the host name in {name}"
        if isinstance(one, ssl.SSLError):
            return "TLS fails ({said}): check the TLS parameters in {name}"
        if isinstance(one, asyncio.TimeoutError | TimeoutError) or "timeout expired" in text:
            return "it does not answer in time: check that it runs and that {name} names it"
    if "rejected SSL upgrade" in text:
        return "it offers no TLS: take `sslmode` out of {name}, or turn TLS on at the server"
    if "refused" in text or "Connect call failed" in text or "No such file or directory" in text:
        return "nothing listens there: start the server, or correct host and port in {name}"
    if isinstance(exc, ConnectionError) or re.search(r"connection (was|is) closed|closed the connection", text):
        return "the connection was lost ({said})"
    return None


_VAGUE = frozenset({"08P01", "XX000", "58030"})
_PERMANENT = frozenset({"28P01", "28000", "3D000", "42501"})
_SCHEMA = "its tables are not those of this version ({said}): run `koco db --upgrade`"
_ENDED = "it is starting or stopping"
_REASONS = {
    "28P01": 'the password of user "{user}" is wrong: correct it in {name}',
    "28000": 'user "{user}" is not let in ({said}): check the user in {name} and the server\'s pg_hba.conf',
    "3D000": 'database "{database}" does not exist: create it (`createdb {database}`) or correct {name}',
    "42501": 'user "{user}" lacks a privilege ({said}): grant it, or name the owner of the database in {name}',
    "53300": "all its connections are taken: raise its max_connections, or lower KODO_DATABASE_POOL_SIZE",
    "53100": "its disk is full ({said}): make room on the server",
    "53200": "it has no memory left ({said})",
    "57P03": _ENDED,
    "57P01": _ENDED,
    "57P02": _ENDED,
    "57P05": "it closed an idle connection",
    "57014": "a statement took longer than KODO_DATABASE_TIMEOUT",
    "55P03": "a lock was not to be had within KODO_DATABASE_TIMEOUT",
    "25P03": "a transaction lay idle longer than KODO_DATABASE_TIMEOUT",
    "25006": "it is read-only: name the primary server in {name}",
    "40P01": "transactions stood in each other's way ({said})",
    "40001": "transactions stood in each other's way ({said})",
    "42P01": _SCHEMA,
    "42703": _SCHEMA,
}
"""SQLSTATE (PostgreSQL, appendix A) -> reason and remedy."""

_WORDS = (
    (r"password authentication failed|SASL authentication failed|no such user|no password supplied", "28P01"),
    (r"no pg_hba\.conf entry|role \"[^\"]*\" does not exist", "28000"),
    (r"database \"[^\"]*\" does not exist|no such database", "3D000"),
    (r"too many (clients|connections)|remaining connection slots|no more connections allowed", "53300"),
    (r"database system is (starting up|shutting down|in recovery)|server login has been failing", "57P03"),
    (r"query_wait_timeout|query_timeout", "57014"),
    (r"could not (extend|write( to)?) file|No space left on device", "53100"),
)
"""Texts for which there is no code, and the code that they mean."""
