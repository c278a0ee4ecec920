"""Durable runs over the session's Temporal, whose attempts are scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.durable import Durable
from tests.servers.temporal import TemporalServer


@pytest.fixture
async def durable(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Durable]:
    """With a spooler, without a worker."""
    durable = Durable(temporal_server.address, tmp_path)
    async with durable.spooling():
        yield durable
