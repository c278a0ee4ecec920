"""One factory per member of the family; a member without one fails the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kodosumi.store import ExecutionStore
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.store.sqlite import SqliteExecutionStore

FACTORIES: dict[str, Callable[[Path], ExecutionStore]] = {
    "sqlite": lambda folder: SqliteExecutionStore(folder / "execution"),
    "memory": lambda folder: MemoryExecutionStore(),
}
