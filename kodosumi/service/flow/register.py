"""The register of sources: kept in the admin database, so all panel processes share it and every restart finds it.

A source is read by one process at a time: who moves its ``due_at`` ahead reads it. What was read replaces what was
known in one write, after it was read; a source that is down keeps its flows, marked stale.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...config import Settings
from ..database import AdminDatabase
from .address import BadAddress, SourceAddress, source_address
from .apps import App, Reading, from_text, merged, read_source, to_text
from .catalog import Catalog
from .fetch import is_allowed
from .table import Source

logger = logging.getLogger(__name__)

CLAIM_S = 60.0
"""How long a source is left to the process that took it; longer than reading can last."""

FIRST_RETRY_S = 1.0
NEW_RETRY_S = 2.0
"""Longest wait for a source that never answered: an app that starts after the panel should show soon."""

_VERSIONS = select(Source.url, Source.version)


class RegisterError(Exception):
    """Sources that cannot be registered; the text names each with the reason."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One source as an operator sees it.

    Attributes:
        url: its address.
        flows: how many it has.
        error: why it was not read, wholly or in part, the last time; empty when it was.
        fetched_at: when it last answered (UTC seconds), None when never.
        pending: it was not tried yet.
        partly: the error concerns only some of its apps.
    """

    url: str
    flows: int
    error: str
    fetched_at: float | None
    pending: bool
    partly: bool


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh of all sources changed: flows now, flows gone, all sources, those that answered."""

    catalog: Catalog
    gone: list[str]
    sources: list[str]
    connected: list[str]


class FlowRegister:
    """The register of one panel process.

    Args:
        database: shared by all panel processes.
        http: client towards apps. settings: of the panel.
    """

    def __init__(self, database: AdminDatabase, http: httpx.AsyncClient, settings: Settings) -> None:
        self._database, self._http, self._settings = database, http, settings
        self._versions: dict[str, str] = {}
        self._catalog = Catalog()
        self._reading = asyncio.Lock()

    async def catalog(self) -> Catalog:
        """What is registered now, in whichever process it was registered."""
        versions = {row.url: row.version for row in await self._database.rows(_VERSIONS)}
        if versions != self._versions:
            async with self._reading:
                await self._reload()
        return self._catalog

    async def sources(self) -> list[Registered]:
        """Every source, in the order of registering."""
        async with self._database.session() as session:
            rows = list(await session.scalars(select(Source).order_by(Source.added_at, Source.url)))
        return [_registered(row) for row in rows]

    async def register(self, urls: Sequence[str]) -> list[App]:
        """Reads sources and, when all could be read, adds them; one that is registered already is refreshed.

        Returns:
            The apps behind them, with their flows.

        Raises:
            RegisterError: nothing was added; names each source that is no address, not allowed or not reachable.
        """
        addresses, problems = self._checked(urls)
        if problems:
            raise RegisterError(" ".join(problems))
        readings = await asyncio.gather(*(read_source(self._http, each, self._settings) for each in addresses))
        problems = [reading.error for reading in readings if reading.apps is None]
        if problems:
            raise RegisterError(" ".join(problems))
        apps: list[App] = []
        for address, reading in zip(addresses, readings, strict=True):
            await self._add(address.url)
            apps += await self._keep(address.url, reading)
        return apps

    async def unregister(self, urls: Sequence[str]) -> list[str] | None:
        """Removes sources.

        Returns:
            Places of the flows that went with them; None when none of the sources was registered.
        """
        before = {flow.url for flow in (await self.catalog()).flows}
        wanted = {address.url for address in self._checked(urls, any_host=True)[0]}
        async with self._database.session() as session:
            gone = await session.execute(delete(Source).where(Source.url.in_(wanted)).returning(Source.url))
            removed = list(gone)
        after = {flow.url for flow in (await self.catalog()).flows}
        return sorted(before - after) if removed else None

    async def refresh(self) -> Refreshed:
        """Reads every source now, one way or the other."""
        before = {flow.url for flow in (await self.catalog()).flows}
        urls = [source.url for source in await self.sources()]
        await asyncio.gather(*(self._refresh(url) for url in urls))
        catalog = await self.catalog()
        connected = [source.url for source in await self.sources() if source.url in urls and not source.error]
        return Refreshed(catalog, sorted(before - {flow.url for flow in catalog.flows}), urls, connected)

    async def add_configured(self) -> None:
        """Adds what ``KODO_REGISTER_FLOW`` names; reading it is the background's work, so apps may start later."""
        addresses, problems = self._checked(self._settings.register_flow)
        for problem in problems:
            logger.error("KODO_REGISTER_FLOW: %s", problem)
        for address in addresses:
            await self._add(address.url)

    async def run(self) -> None:
        """Keeps the register fresh until cancelled."""
        added = False
        while True:
            wait_s = self._settings.register_refresh
            try:
                if not added:
                    await self.add_configured()
                    added = True
                wait_s = await self._refresh_due()
            except SQLAlchemyError as exc:
                logger.warning("sources cannot be refreshed now: %s", exc)
            except Exception:
                # Whatever one source did, the others are still to be refreshed.
                logger.exception("refreshing sources failed")
            await asyncio.sleep(wait_s)

    def _checked(self, urls: Sequence[str], any_host: bool = False) -> tuple[list[SourceAddress], list[str]]:
        found: dict[str, SourceAddress] = {}
        problems: list[str] = []
        for url in urls:
            try:
                address = source_address(url)
            except BadAddress as exc:
                problems.append(f"{url[:200]!r} is not the address of a source: {exc}.")
                continue
            if any_host or is_allowed(self._settings, address.root):
                found[address.url] = address
            else:
                problems.append(f"{address.root.host} is not among KODO_REGISTER_ALLOW.")
        return list(found.values()), problems

    async def _refresh_due(self) -> float:
        now = time.time()
        async with self._database.session() as session:
            due = list(await session.scalars(select(Source.url).where(Source.due_at <= now)))
        taken = [url for url in due if await self._take(url, now)]
        await asyncio.gather(*(self._refresh(url) for url in taken))
        async with self._database.session() as session:
            waiting = list(await session.scalars(select(Source.due_at)))
        longest = self._settings.register_refresh
        next_due_in_s = min(waiting) - time.time() if waiting else longest
        return min(max(next_due_in_s, 0.05), longest)

    async def _take(self, url: str, now: float) -> bool:
        mine = update(Source).where(Source.url == url, Source.due_at <= now).values(due_at=now + CLAIM_S)
        async with self._database.session() as session:
            result = await session.execute(mine.returning(Source.url))
            return result.first() is not None

    async def _refresh(self, url: str) -> None:
        await self._keep(url, await read_source(self._http, source_address(url), self._settings))

    async def _add(self, url: str) -> None:
        now = time.time()
        with suppress(IntegrityError):  # it is there already
            async with self._database.session() as session:
                session.add(Source(url=url, added_at=now, due_at=now, version=uuid.uuid4().hex))

    async def _keep(self, url: str, reading: Reading) -> list[App]:
        # Read first and write by one statement then: on SQLite a transaction that reads before it writes may fail
        # when another process wrote in between.
        async with self._database.session() as session:
            row = await session.get(Source, url)
        if row is None:
            return []
        now = time.time()
        known = from_text(row.apps)
        apps = await asyncio.to_thread(merged, known, reading)
        text = to_text(apps)
        if reading.apps is None and not row.error:
            logger.warning("source %s: %s", url, reading.error)
        changed = text != row.apps or reading.error != row.error
        failures = row.failures + 1 if reading.error else 0
        fetched_at = now if reading.apps is not None else row.fetched_at
        values = {
            "due_at": now + self._wait_s(failures, fetched_at),
            "fetched_at": fetched_at,
            "failures": failures,
            "error": reading.error,
            "version": uuid.uuid4().hex if changed else row.version,
            "apps": text,
        }
        async with self._database.session() as session:
            await session.execute(update(Source).where(Source.url == url).values(**values))
        return apps

    def _wait_s(self, failures: int, fetched_at: float | None) -> float:
        longest = self._settings.register_refresh
        if not failures:
            return longest
        if fetched_at is None:
            longest = min(longest, NEW_RETRY_S)
        return min(longest, FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))

    async def _reload(self) -> None:
        async with self._database.session() as session:
            rows = list(await session.execute(select(Source.url, Source.version, Source.apps)))
        apps = [app for _, _, text in rows for app in from_text(text)]
        self._catalog = Catalog(apps)
        self._versions = {url: version for url, version, _ in rows}


def _registered(row: Source) -> Registered:
    apps = from_text(row.apps)
    flows = sum(len(app.endpoints) for app in apps)
    return Registered(
        url=row.url,
        flows=flows,
        error=row.error,
        fetched_at=row.fetched_at,
        pending=row.fetched_at is None and not row.error,
        partly=bool(row.error) and not all(app.stale for app in apps),
    )
