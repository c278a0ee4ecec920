"""A Temporal dev server for the session, and durable runs over it whose attempts are scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.durable import Durable
from tests.servers.temporal import TemporalServer


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[TemporalServer]:
    """A server that only this session knows: use a task queue of your own."""
    with TemporalServer() as server:
        yield server


@pytest.fixture
async def durable(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Durable]:
    """With a spooler, without a worker."""
    durable = Durable(temporal_server.address, tmp_path)
    async with durable.spooling():
        yield durable
