"""Servers that a test may kill, and stores on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from kodosumi.store.postgres import PostgresExecutionStore
from tests.servers.postgres import PostgresServer

MakeStore = Callable[..., PostgresExecutionStore]


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server of this module's own, which its tests may kill; it runs again when a test begins."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_url(own_server: PostgresServer) -> str:
    """URL of a fresh database on it."""
    if not own_server.alive:
        own_server.start()
    return own_server.url(own_server.create_database())


@pytest.fixture
async def make_store() -> AsyncIterator[MakeStore]:
    """Makes stores, and closes them."""
    made: list[PostgresExecutionStore] = []

    def make(url: str, **options: float) -> PostgresExecutionStore:
        made.append(PostgresExecutionStore(url, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        await store.close()
