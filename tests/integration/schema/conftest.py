"""A fresh, empty PostgreSQL database for each test, and settings that name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from tests.servers.postgres import PostgresServer


@pytest.fixture
def name(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of an empty database."""
    name = postgres_server.create_database(migrated=False)
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def url(postgres_server: PostgresServer, name: str) -> str:
    return postgres_server.url(name)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    """Both databases in one."""
    return Settings(
        admin_database=url,
        execution_database=url,
        exec_dir=tmp_path / "execution",
        database_connect_timeout=20,
        _env_file=None,
    )
