"""Folders of executions as an import finds them, and a look whether it left a trace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kodosumi.events import Event
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.unit.store.histories import OWNER, batch


async def stored(folder: Path, fid: str, *events: Event, username: str = OWNER, archived: bool = False) -> None:
    """An execution of ours, as a store leaves it when it's closed."""
    store = SqliteExecutionStore(folder)
    await store.append(fid, username, [batch(7, *events, epoch=3)])
    if archived:
        await store.archive(fid)
    await store.close()


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and the time of its last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[str(path.relative_to(folder))] = (state.st_size, state.st_mtime_ns)
    return found


def lines(count: int, text: str = "line") -> Iterable[tuple[Any, Any, Any]]:
    return (("stdout", 1_000.0 + number / 1_000, f"{text} {number}") for number in range(count))
