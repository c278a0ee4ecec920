"""An engine of each test's own, on the session's Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.execution.direct import DirectMode
from tests.conditions import until
from tests.engine import Engine
from tests.integration.pool.attending import Attending


@asynccontextmanager
async def spooled(engine: Engine) -> AsyncIterator[Engine]:
    spooling = asyncio.create_task(engine.spooler.run())
    yield engine
    await engine.leave_none()
    engine.spooler.stop()
    await spooling
    await engine.mode.close()


@pytest.fixture
def settings(ray_cluster: str) -> Settings:
    return Settings(ray_server=ray_cluster, _env_file=None)


@pytest.fixture
async def engine(settings: Settings, tmp_path: Path) -> AsyncIterator[Engine]:
    """A running engine of this test's own."""
    async with spooled(Engine(settings, tmp_path)) as engine:
        yield engine


@pytest.fixture(scope="session")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the code of all tests that share warm processes."""
    return tmp_path_factory.mktemp("agents")


@pytest.fixture
async def shared(settings: Settings, agents: Path) -> AsyncIterator[Engine]:
    """An engine whose tests share warm processes, with the cluster's defaults before and after."""
    mode = DirectMode(settings)
    await until(mode.configure, lambda _: True)
    async with spooled(Engine(settings, agents)) as engine:
        yield engine
    await until(mode.configure, lambda _: True)


@pytest.fixture
async def limited(settings: Settings, agents: Path) -> AsyncIterator[Engine]:
    """One on a cluster that serves one run at a time."""
    mode = DirectMode(settings)
    one = settings.model_copy(update={"max_runs": 1})
    await until(DirectMode(one).configure, lambda _: True)
    async with spooled(Engine(one, agents)) as engine:
        yield engine
    await until(mode.configure, lambda _: True)


@pytest.fixture
async def attending(settings: Settings, agents: Path) -> AsyncIterator[Attending]:
    """Sees to the attempts of durable runs."""
    await until(DirectMode(settings).configure, lambda _: True)
    attending = Attending(settings, agents)
    async with spooled(attending.engine):
        yield attending
