"""The contract behind pgbouncer in transaction mode, with nothing set to make it work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from kodosumi import postgres
from kodosumi.events import new_fid
from kodosumi.store import ExecutionStore
from kodosumi.store.postgres import PostgresExecutionStore
from tests.integration.store.conftest import MakeStore as MakePostgresStore
from tests.integration.store.test_postgresql_store import empty
from tests.servers.pgbouncer import PgBouncer, require_binary
from tests.servers.postgres import PostgresServer
from tests.store_contract import MakeStore, StoreContract
from tests.unit.store.histories import OWNER, batch, payloads, text


@pytest.fixture(scope="module")
def bouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A pgbouncer with fewer connections to the server than we open to it."""
    require_binary()
    with PgBouncer(postgres_server) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that the tests share."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def bouncer_url(postgres_server: PostgresServer, bouncer: PgBouncer, database: str) -> str:
    """URL of the emptied database behind pgbouncer."""
    empty(postgres_server, database)
    return postgres_server.url(database, port=bouncer.port)


class TestBehindPgbouncer(StoreContract):
    @pytest.fixture
    def make(self, postgres_server: PostgresServer, bouncer: PgBouncer, database: str) -> MakeStore:
        def make(**options: bool) -> ExecutionStore:
            empty(postgres_server, database)
            return PostgresExecutionStore(postgres_server.url(database, port=bouncer.port), **options)

        return make


async def test_a_pooler_is_noticed_and_a_server_is_not_taken_for_one(postgres_url: str, bouncer_url: str) -> None:
    for url, pooled in ((postgres_url, False), (bouncer_url, True)):
        connection = await postgres.connect(url, settings_name="X", connect_timeout_s=10)
        assert await postgres.is_pooled(connection) is pooled
        await connection.close()


async def test_many_processes_share_few_connections_of_the_server(
    bouncer_url: str, make_store: MakePostgresStore
) -> None:
    stores = [make_store(bouncer_url) for _ in range(4)]
    running = [new_fid() for _ in range(12)]

    async def write(number: int) -> None:
        for offset in range(1, 21):
            store = stores[(number + offset) % len(stores)]
            lines = [text(f"{offset}")] * (100 if offset % 5 == 0 else 1)
            await store.append(running[number], OWNER, [batch(offset, *lines)])
            await store.changes(0.0)

    await asyncio.gather(*(write(number) for number in range(12)))
    expected = [f"{offset}" for offset in range(1, 21) for _ in range(100 if offset % 5 == 0 else 1)]
    for fid in running:
        assert await payloads(stores[0], fid) == expected


async def test_a_statement_that_takes_too_long_is_ended_behind_a_pooler_too(
    bouncer_url: str, make_store: MakePostgresStore
) -> None:
    store = make_store(bouncer_url, timeout_s=2.0)
    with pytest.raises(Exception, match="KODO_DATABASE_TIMEOUT"):
        await store._pool.run(lambda connection: connection.execute("SELECT pg_sleep(60)"))
    await store.check()
