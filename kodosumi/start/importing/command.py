"""The writing side: takes parts as they are read, and sees that each execution is imported whole, once.

Small executions share a transaction, a large one has its own. One that is there already is compared, event by event,
so an import that runs again also proves that nothing is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path

import typer

from ... import schema
from ...config import Settings
from ...error import ConfigurationError, StoreUnavailable
from ...store.postgres.importing import ImportTarget, Known, Span, import_target, require_database
from ...store.postgres.rows import Record
from .report import Report
from .source import PART_CHARS, PART_EVENTS, Part, Reason, Skipped, count, parts

GROUP_EXECUTIONS = 500
FAILED, INTERRUPTED = 1, 130


def import_folder(settings: Settings, folder: Path) -> int:
    """Imports ``folder/<role id>/<fid>/sqlite3.db`` into the database of ``KODO_EXECUTION_DATABASE``.

    The folder is only read. Killed half-way it goes on when it's run again; run twice it changes nothing.

    Args:
        settings: as loaded.
        folder: what ``KODO_EXEC_DIR`` named, or a copy of it.

    Returns:
        The exit code: 1 when an execution is damaged or the database went away, else 0.

    Raises:
        ConfigurationError: no such folder, no such database, or one of another version; says what to do.
        StoreUnavailable: the database can't be reached now.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"--import {folder}: there is no such folder; name the one with your executions")
    try:
        return asyncio.run(_import(settings, folder))
    except KeyboardInterrupt:
        typer.echo("The import was interrupted. Run it again, it goes on where it stopped.", err=True)
        return INTERRUPTED


async def _import(settings: Settings, folder: Path) -> int:
    trouble: str | None = None
    require_database(settings)
    await schema.require_current(settings, "execution")
    async with import_target(settings) as target:
        total = await asyncio.to_thread(count, folder)
        if total == 0:
            typer.echo(f"nothing to import: {folder} holds no <role id>/<execution id>/sqlite3.db")
            return 0
        with Report(total) as report:
            try:
                await _Import(target, report).run(folder)
                if report.imported:
                    await target.analyze()
            except (StoreUnavailable, OSError) as exc:
                trouble = str(exc)
    for line in report.summary():
        typer.echo(line)
    if trouble is not None:
        typer.echo(f"The import stopped. {trouble} Run it again, it goes on where it stopped.", err=True)
    return FAILED if trouble is not None or report.damaged else 0


class _Import:
    """One import.

    Args:
        target: where to. report: what to tell.
    """

    def __init__(self, target: ImportTarget, report: Report) -> None:
        self._target = target
        self._report = report
        self._group: dict[str, Part] = {}
        self._group_events = self._group_chars = 0
        self._large: _Large | None = None

    async def run(self, folder: Path) -> None:
        """Takes all that there is.

        Raises:
            StoreUnavailable: the database can't be used now. OSError: the folder can't be read.
        """
        try:
            async with aclosing(_ahead(parts(folder))) as read:
                async for part in read:
                    await self._take(part)
            await self._write_group()
        finally:
            if self._large is not None:
                await self._large.give_up()

    async def _take(self, part: Part | Skipped) -> None:
        if isinstance(part, Skipped):
            if self._large is not None:
                await self._large.give_up()
                self._large = None
            self._report.add_skipped(part)
        elif part.after == 0 and part.summary is not None:
            await self._take_small(part)
        else:
            await self._take_large(part)

    async def _take_small(self, part: Part) -> None:
        if part.fid in self._group:
            # The same id under two owners: the second must meet the first in the database.
            await self._write_group()
        self._group[part.fid] = part
        self._group_events += len(part.events)
        self._group_chars += sum(len(event.payload) for event in part.events)
        full = len(self._group) >= GROUP_EXECUTIONS or self._group_events >= PART_EVENTS
        if full or self._group_chars >= PART_CHARS:
            await self._write_group()

    async def _write_group(self) -> None:
        group, self._group = list(self._group.values()), {}
        self._group_events = self._group_chars = 0
        if not group:
            return
        async with self._target.transaction():
            known = await self._target.known([part.fid for part in group])
            fresh = [part for part in group if part.fid not in known]
            await self._target.write_all((part.username, _span(part)) for part in fresh)
            await self._target.finish([Record(*part.summary) for part in fresh if part.summary])
            others = [part for part in group if part.fid in known]
            same = await self._target.holds([_span(part) for part in others])
        for part in group:
            self._report.add_events(len(part.events))
        for _ in fresh:
            self._report.add_imported()
        for part, equal in zip(others, same, strict=True):
            self._compared(part, known[part.fid], equal)

    async def _take_large(self, part: Part) -> None:
        if self._large is None:
            await self._write_group()
            self._large = await _Large.begun(self._target, part.fid)
        large = self._large
        await large.take(part)
        self._report.add_events(len(part.events))
        if part.summary is None:
            return
        self._large = None
        await large.finish(part)
        if large.known is None:
            self._report.add_imported()
        else:
            self._compared(part, large.known, large.same)

    def _compared(self, part: Part, known: Known, same: bool) -> None:
        seq = part.after + len(part.events)
        if known.purged:
            self._report.add_skipped(Skipped(part.path, Reason.REMOVED))
        elif same and (known.username, known.seq) == (part.username, seq):
            self._report.add_present()
        else:
            self._report.add_skipped(Skipped(part.path, Reason.DIFFERENT))


class _Large:
    """An execution that comes in several parts, and the one transaction that takes them.

    Attributes:
        known: what the database knew of it before. same: whether its events are the same so far.
    """

    def __init__(self, target: ImportTarget, transaction: AsyncExitStack, known: Known | None) -> None:
        self._target = target
        self._transaction = transaction
        self.known = known
        self.same = True

    @classmethod
    async def begun(cls, target: ImportTarget, fid: str) -> _Large:
        """Opens the transaction."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(target.transaction())
            known = await target.known([fid])
            transaction = stack.pop_all()
        return cls(target, transaction, known.get(fid))

    async def take(self, part: Part) -> None:
        """Writes the next part, or compares it with what is there."""
        if self.known is None:
            await self._target.write(part.username, _span(part))
        elif self.same:
            self.same = all(await self._target.holds([_span(part)]))

    async def finish(self, part: Part) -> None:
        """Commits after the last part."""
        if self.known is None and part.summary is not None:
            await self._target.finish([Record(*part.summary)])
        await self._transaction.aclose()

    async def give_up(self) -> None:
        """Leaves nothing behind."""
        with suppress(StoreUnavailable):
            # A database that is gone has nothing of it either.
            await self._transaction.__aexit__(_GaveUp, _GaveUp(), None)


class _GaveUp(Exception):
    """Rolls a transaction back."""


def _span(part: Part) -> Span:
    return Span(part.fid, part.after, part.events)


async def _ahead(read: Generator[Part | Skipped]) -> AsyncGenerator[Part | Skipped]:
    """Each part, while the next one is being read."""
    reading = asyncio.create_task(asyncio.to_thread(next, read, None))
    try:
        while (part := await reading) is not None:
            reading = asyncio.create_task(asyncio.to_thread(next, read, None))
            yield part
    finally:
        await asyncio.gather(reading, return_exceptions=True)
        await asyncio.to_thread(read.close)
