"""An engine of each test's own, on the session's Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from tests.engine import Engine


@pytest.fixture
async def engine(ray_cluster: str, tmp_path: Path) -> AsyncIterator[Engine]:
    """A running engine of this test's own."""
    settings = Settings(ray_server=ray_cluster, _env_file=None)
    engine = Engine(settings, tmp_path)
    spooling = asyncio.create_task(engine.spooler.run())
    yield engine
    engine.spooler.stop()
    await spooling
    await engine.mode.close()
