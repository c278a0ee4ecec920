"""Who runs on a database needs the schema of its own version: asked at start, patient with a server that is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ..config import Settings
from ..error import ConfigurationError, StoreUnavailable
from .databases import Database, Standing, State, current, databases

logger = logging.getLogger(__name__)

COMMAND = "koco db --upgrade"
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 5.0

Value = TypeVar("Value")


def behind(state: State) -> str | None:
    """Why nothing must run on a database that stands so, and what to do, in one line; None when all is well.

    An SQLite database that is not there yet is well: whoever needs it first makes it.
    """
    database = state.database
    what = f"{database.variable}: the {database.name} database {database.shown}"
    if state.standing is Standing.AHEAD:
        return (
            f"{what} is at revision {state.revision}, which this version of kodosumi does not know "
            f"(it knows {database.head}): upgrade the package kodosumi, or name another database."
        )
    if state.standing is not Standing.BEHIND:
        return None
    if state.revision is not None:
        return f"{what} is behind (at {state.revision}, this version needs {database.head}): run `{COMMAND}`."
    if database.backend == "sqlite":
        return f"{what} is behind (it has no revision yet, this version needs {database.head}): run `{COMMAND}`."
    return f"{what} has no tables of kodosumi's yet (this version needs {database.head}): run `{COMMAND}`."


def require(state: State) -> None:
    """Refuses a database that stands otherwise than this version needs.

    Raises:
        ConfigurationError: it is behind, or ahead; names the remedy.
    """
    reason = behind(state)
    if reason is not None:
        raise ConfigurationError(reason)


async def require_current(settings: Settings, *names: str) -> None:
    """Refuses to go on with a database that is not of this version.

    Args:
        settings: as loaded. names: of the databases, all by default; one that these settings lack is no matter.

    Raises:
        ConfigurationError: behind, ahead or not usable; names the remedy.
        StoreUnavailable: a database can't be reached now.
    """
    for database in chosen(settings, names):
        require(await current(database))


async def until_current(settings: Settings, *names: str) -> None:
    """:func:`require_current`, but waits for a database that can't be reached, for as long as it takes.

    Raises:
        ConfigurationError: behind, ahead, or trying again can't help; names the remedy.
    """
    for database in chosen(settings, names):
        require(await until_reached(partial(current, database)))


async def until_reached(work: Callable[[], Awaitable[Value]], say: Callable[[str], object] = logger.warning) -> Value:
    """What ``work`` gives once its database can be reached; it must be safe to repeat.

    Args:
        work: tried at once, then again and again, more slowly each time.
        say: is told why it waits, once for each reason, and when the wait is over.

    Raises:
        ConfigurationError: trying again can't help.
    """
    said, pause_s = "", FIRST_RETRY_S
    while True:
        try:
            value = await work()
        except StoreUnavailable as exc:
            if str(exc) != said:
                said = str(exc)
                say(f"{said.rstrip('.')}; trying again")
        else:
            if said:
                say("the database answers")
            return value
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LAST_RETRY_S)


def chosen(settings: Settings, names: tuple[str, ...]) -> list[Database]:
    """The databases with these names, all when there are none."""
    return [database for database in databases(settings) if not names or database.name in names]
