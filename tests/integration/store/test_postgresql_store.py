"""The contract on the store ``postgresql``, with a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kodosumi.store import ExecutionStore
from kodosumi.store.postgres import PostgresExecutionStore
from tests.servers.postgres import PostgresServer
from tests.store_contract import MakeStore, StoreContract

TABLES = (
    "execution_ended",
    "execution_launches",
    "execution_notices",
    "execution_events",
    "execution_details",
    "execution_tally",
    "executions",
)


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that the tests share: to empty one takes less time than to make one."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


class TestPostgresqlStore(StoreContract):
    @pytest.fixture
    def make(self, postgres_server: PostgresServer, database: str) -> MakeStore:
        def make(**options: bool) -> ExecutionStore:
            empty(postgres_server, database)
            return PostgresExecutionStore(postgres_server.url(database), **options)

        return make


def empty(server: PostgresServer, database: str) -> None:
    """Removes all rows of our tables."""
    with server.connected(database) as connection, connection.transaction():
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
