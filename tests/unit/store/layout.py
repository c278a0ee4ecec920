"""Execution folders as earlier versions left them, and a look into files past the store."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kodosumi.events import Event


def database(exec_dir: Path, username: str, fid: str) -> Path:
    return exec_dir / username / fid / "sqlite3.db"


def older_execution(exec_dir: Path, username: str, fid: str, events: Iterable[Event | tuple[Any, Any, Any]]) -> Path:
    """A file with the published table only. Events are ``kind, timestamp, payload``."""
    path = database(exec_dir, username, fid)
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE monitor (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL, kind TEXT, message TEXT)"
        )
        rows = [(timestamp, getattr(kind, "value", kind), payload) for kind, timestamp, payload in events]
        connection.executemany("INSERT INTO monitor (timestamp, kind, message) VALUES (?, ?, ?)", rows)
    return path


def rows(path: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
