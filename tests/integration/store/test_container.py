"""The contract on the store ``postgresql``, with the server of the public image."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from kodosumi import schema
from kodosumi.config import Settings
from kodosumi.postgres import dsn_of
from kodosumi.store import ExecutionStore
from kodosumi.store.postgres import PostgresExecutionStore
from tests.integration.store.test_postgresql_store import TABLES
from tests.servers.containers import postgres_container
from tests.store_contract import MakeStore, StoreContract


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A migrated database in a container."""
    with postgres_container("postgres:17") as url:
        settings = Settings(execution_database=url, _env_file=None)
        asyncio.run(schema.upgrade(schema.database_of(settings, "execution")))
        yield url


class TestPostgresqlStoreInAContainer(StoreContract):
    @pytest.fixture
    def make(self, url: str) -> MakeStore:
        def make(**options: bool) -> ExecutionStore:
            with psycopg.connect(dsn_of(url)) as connection:
                for table in TABLES:
                    connection.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
            return PostgresExecutionStore(url, **options)

        return make
