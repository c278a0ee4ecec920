"""`koco spool --status`: which spoolers are alive, what each holds, and how far behind it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from ..config import Settings
from ..error import KodosumiError
from ..store import connect_store
from ..transport import ConsumerStatus, TransportStatus, connect_transport
from .pidfile import living_pid, spooler_pidfile

TIMEOUT_S = 15.0
TITLES = ("spooler", "executions", "lag in events", "lag in seconds", "last commit")


def spooler_status(settings: Settings) -> tuple[bool, str]:
    """Whether a spooler is alive, here or elsewhere on the transport, and a text that says what each does."""
    pid = living_pid(spooler_pidfile(settings))
    try:
        status = asyncio.run(_asked(settings))
    except (KodosumiError, TimeoutError) as exc:
        here = "no spooler here" if pid is None else f"spooler is alive, pid {pid}"
        return pid is not None, f"{here}, and the transport cannot be asked: {exc or 'no answer'}"
    if pid is not None:
        headline = f"spooler is alive, pid {pid}"
    elif status.consumers:
        headline = f"spooler is alive elsewhere, {status.consumers} on the transport"
    else:
        headline = "no spooler is alive"
    waiting = f"{status.waiting_events:,} events wait, the oldest for {status.oldest_s:.1f} s"
    lines = [headline, waiting, *_notices(settings), *_table(status.readers)]
    return pid is not None or status.consumers > 0, "\n".join(lines)


async def _asked(settings: Settings) -> TransportStatus:
    transport = connect_transport(settings)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await transport.status()
    finally:
        await transport.close()


def _notices(settings: Settings) -> list[str]:
    """How much the webhook is still to be told, where there is one."""
    if not settings.webhook_url:
        return []
    try:
        return [f"{asyncio.run(_noticed(settings)):,} notices wait for the webhook"]
    except (KodosumiError, TimeoutError) as exc:
        return [f"notices for the webhook cannot be counted: {exc or 'no answer'}"]


async def _noticed(settings: Settings) -> int:
    store = connect_store(settings)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await store.waiting_notices()
    finally:
        await store.close()


def _table(readers: Iterable[ConsumerStatus]) -> list[str]:
    rows = [TITLES, *(_row(reader) for reader in readers)]
    if len(rows) == 1:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(reader: ConsumerStatus) -> tuple[str, ...]:
    at = reader.last_commit_at
    committed = "-" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return (reader.name, str(reader.executions), f"{reader.lag_events:,}", f"{reader.lag_s:.1f}", committed)
