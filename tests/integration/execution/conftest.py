"""An engine of each test's own, on the session's Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.execution.direct import DirectMode
from tests.conditions import until
from tests.engine import Engine


@pytest.fixture(scope="session")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests' code, so that they share warm processes."""
    return tmp_path_factory.mktemp("agents")


@pytest.fixture
async def engine(ray_cluster: str, agents: Path) -> AsyncIterator[Engine]:
    settings = Settings(ray_server=ray_cluster, _env_file=None, lock_expires=500.0, max_event_bytes=1_000_000)
    engine = Engine(settings, agents)
    await engine.mode.configure()
    spooling = asyncio.create_task(engine.spooler.run())
    yield engine
    await engine.leave_none()
    engine.spooler.stop()
    await spooling
    # Asked until it's said: a test may have killed the pool.
    defaults = DirectMode(Settings(ray_server=ray_cluster, _env_file=None))
    await until(lambda: defaults.configure(), lambda _: True)
    await engine.mode.close()
