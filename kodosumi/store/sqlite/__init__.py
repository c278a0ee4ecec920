"""Executions in SQLite files: one file per execution, which is the truth, and one index of all, which is derived."""

from __future__ import annotations

from .store import SqliteExecutionStore

__all__ = ["SqliteExecutionStore"]
