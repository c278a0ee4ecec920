"""Settings whose admin database is an SQLite file of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.schema import Database, database_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.db"


@pytest.fixture
def settings(path: Path) -> Settings:
    return Settings(admin_database=f"sqlite+aiosqlite:///{path}", _env_file=None)


@pytest.fixture
def database(settings: Settings) -> Database:
    return database_of(settings, "admin")
