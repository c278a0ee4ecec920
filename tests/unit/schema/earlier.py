"""A database as it was made before there were migrations: tables by the models of that time, no version, some rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

ROLE = "8d7f21a4c1f84f0f9a2b7a3f2f0c9d11"
TABLES = (
    """CREATE TABLE roles (
        id CHAR(32) NOT NULL, name VARCHAR(100) NOT NULL, email VARCHAR(320) NOT NULL, active BOOLEAN NOT NULL,
        password VARCHAR(100) NOT NULL, operator BOOLEAN NOT NULL, PRIMARY KEY (id), UNIQUE (name), UNIQUE (email))""",
    """CREATE TABLE sessions (
        id VARCHAR(32) NOT NULL, role_id CHAR(32) NOT NULL, expires_at FLOAT NOT NULL, PRIMARY KEY (id),
        FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE)""",
    "CREATE INDEX ix_sessions_role_id ON sessions (role_id)",
    "CREATE INDEX ix_sessions_expires_at ON sessions (expires_at)",
    """CREATE TABLE sources (
        url VARCHAR(2048) NOT NULL, added_at FLOAT NOT NULL, due_at FLOAT NOT NULL, fetched_at FLOAT,
        failures INTEGER NOT NULL, error TEXT NOT NULL, version VARCHAR(32) NOT NULL, apps TEXT NOT NULL,
        PRIMARY KEY (url))""",
    "CREATE INDEX ix_sources_due_at ON sources (due_at)",
)
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "roles": [(ROLE, "admin", "admin@example.com", 1, "$2b$12$hash", 1)],
    "sessions": [("a" * 32, ROLE, 4e9)],
    "sources": [("http://localhost:8000/-/routes", 1.5, 2.5, None, 3, "down", "v", '[{"name": "grüße"}]')],
}


def make_earlier(path: Path) -> None:
    """Puts such a database there."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)
        for table, rows in ROWS.items():
            for row in rows:
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        connection.commit()


def rows_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What is in it now."""
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in ROWS}
