"""What `koco db` does: shows how the databases stand, brings them up or down, one plain line for each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from functools import partial

from .. import schema
from ..config import Settings
from ..error import ConfigurationError
from .console import say, step

BEHIND = 1
"""Exit code of a check that found a database which nothing must run on."""


def show(settings: Settings) -> None:
    """Says how each database stands.

    Raises:
        ConfigurationError: a database can't be used. StoreUnavailable: one can't be reached now.
    """
    for line in _lines(asyncio.run(_states(settings))):
        say(line)


def check(settings: Settings) -> int:
    """Says how each database stands; the exit code is 0 when panel and spooler would run on all of them, else 1.

    Raises:
        ConfigurationError: a database can't be used. StoreUnavailable: one can't be reached now.
    """
    states = asyncio.run(_states(settings))
    for line in _lines(states):
        say(line)
    reasons = [reason for state in states if (reason := schema.behind(state)) is not None]
    for reason in reasons:
        say(reason)
    return BEHIND if reasons else 0


def upgrade(settings: Settings) -> None:
    """Brings every database up to this version, and says how each stands then.

    Raises:
        ConfigurationError: a database can't be used, or is ahead. StoreUnavailable: one can't be reached now.
    """
    for database in schema.databases(settings):
        if asyncio.run(schema.current(database)).standing is schema.Standing.CURRENT:
            continue
        with step(f"upgrading {database.name} to {database.head}"):
            asyncio.run(schema.upgrade(database))
    show(settings)


def downgrade(settings: Settings, target: str) -> None:
    """Brings one database down, or all, and says how each stands then.

    Args:
        settings: as loaded.
        target: ``DATABASE:REVISION``, or ``REVISION`` alone for all databases.

    Raises:
        ConfigurationError: no such database or revision, or it can't be used. StoreUnavailable: not reachable now.
    """
    for database, revision in targets(settings, target):
        with step(f"downgrading {database.name} to {revision}"):
            asyncio.run(schema.downgrade(database, revision))
    show(settings)


def targets(settings: Settings, target: str) -> list[tuple[schema.Database, str]]:
    """Which databases go down to which revision.

    Raises:
        ConfigurationError: there is no such database or revision; names those that are.
    """
    name, colon, revision = target.rpartition(":")
    chosen = [schema.database_of(settings, name)] if colon else schema.databases(settings)
    for database in chosen:
        known = ("base", *schema.REVISIONS[database.name])
        if revision not in known:
            raise ConfigurationError(
                f"The {database.name} database has no revision {revision!r}; it has {', '.join(known)}."
            )
    return [(database, revision) for database in chosen]


def is_terminal() -> bool:
    """Whether somebody is there who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


async def _states(settings: Settings) -> list[schema.State]:
    return [await schema.current(database) for database in schema.databases(settings)]


def _lines(states: Iterable[schema.State]) -> list[str]:
    rows = [(state.database.name, state.database.backend, state.database.shown, _standing(state)) for state in states]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    pad = partial(zip, widths, strict=True)
    return ["   ".join([*(text.ljust(width) for width, text in pad(row[:3])), row[3]]) for row in rows]


def _standing(state: schema.State) -> str:
    standing = str(state.standing)
    if state.standing is schema.Standing.BEHIND:
        standing += f", needs {state.database.head}"
    return f"{state.revision or '-'} ({standing})"
