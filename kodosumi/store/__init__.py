"""Stores: one table, one factory. See ``base.py`` for the contract."""

from __future__ import annotations

from importlib import import_module

from ..config import Settings
from ..error import ConfigurationError
from .base import Appended, Execution, ExecutionChange, ExecutionStore, Notice, NoticeKind, RemoveFiles, Tally

STORES = {
    "sqlite": "kodosumi.store.sqlite:SqliteExecutionStore",
    "postgresql": "kodosumi.store.postgres:PostgresExecutionStore",
    "memory": "kodosumi.store.memory:MemoryExecutionStore",
}
"""Scheme of ``KODO_EXECUTION_DATABASE`` (unset: sqlite) -> class, imported when chosen."""

__all__ = [
    "STORES",
    "Appended",
    "Execution",
    "ExecutionChange",
    "ExecutionStore",
    "Notice",
    "NoticeKind",
    "RemoveFiles",
    "Tally",
    "connect_store",
]


def connect_store(settings: Settings) -> ExecutionStore:
    """The store that ``KODO_EXECUTION_DATABASE`` chooses.

    Raises:
        ConfigurationError: an unknown scheme (lists the choices) or a missing extra (names it).
    """
    url = settings.execution_database
    name = url.partition(":")[0].partition("+")[0] if url else "sqlite"
    try:
        module, _, attribute = STORES[name].partition(":")
    except KeyError:
        choices = ", ".join(STORES)
        raise ConfigurationError(f"KODO_EXECUTION_DATABASE: unknown scheme {name!r}; choose one of {choices}") from None
    store: ExecutionStore = getattr(import_module(module), attribute).from_settings(settings)
    return store
