"""Mode ``memory``: the contract of every mode, in this very process."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.execution.memory import MemoryMode
from kodosumi.transport.memory import MemoryTransport
from tests.engine import Engine
from tests.mode_contract import ModeContract


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    settings = Settings(_env_file=None, lock_expires=500.0, max_event_bytes=1_000_000)
    transport = MemoryTransport(uuid.uuid4().hex)
    engine = Engine(
        settings, tmp_path, MemoryMode(transport, settings.lock_expires, settings.max_event_bytes), transport
    )
    before, path = Path.cwd(), list(sys.path)
    spooling = asyncio.create_task(engine.spooler.run())
    yield engine
    engine.spooler.stop()
    await spooling
    await engine.mode.close()
    os.chdir(before)
    sys.path[:] = path
    sys.modules.pop("mode_agent", None)


class TestMemoryMode(ModeContract):
    """The suite on this member."""
