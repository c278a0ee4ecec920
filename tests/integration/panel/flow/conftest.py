"""A panel that finds apps served for the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kodosumi import launcher as launchers
from kodosumi.config import Settings
from kodosumi.execution.memory import MemoryMode
from kodosumi.launcher import Launcher
from kodosumi.service import lock_access
from kodosumi.service.context import Panel
from kodosumi.spooler import Spooler
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.integration.panel.flow.apps import Source, register
from tests.integration.panel.flow.lock_app import Waiting, lock_app


@pytest.fixture
async def serve() -> AsyncGenerator[Callable[[Any], Any]]:
    """Serves an ASGI app at a free port for the rest of the test."""
    async with AsyncExitStack() as stack:

        async def serve(app: Any) -> Source:
            source = await Source(app).start()
            stack.push_async_callback(source.stop)
            return source

        yield serve


@pytest.fixture
async def registered(
    panel: Panel,
    address: str,
    admin: Any,
    serve: Any,
    store: MemoryExecutionStore,
    transport: MemoryTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[[Any], Awaitable[Source]]]:
    """Serves an app and registers it; what it launches runs in this process."""
    monkeypatch.setattr(panel.settings, "app_server", address)
    launcher = Launcher(Settings(execution_mode="memory", event_transport="memory", _env_file=None))
    launcher.mode = mode = MemoryMode(transport)
    monkeypatch.setattr(launchers, "_launcher_of", lambda pid: launcher)
    spooler = Spooler(panel.settings, store=store, transport=transport, mode=mode)
    spooling = asyncio.create_task(spooler.run())

    async def registered(app: Any) -> Source:
        source: Source = await serve(app)
        await register(admin, source.openapi)
        return source

    yield registered
    spooler.stop()
    await spooling


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored a moment later is waited for as long as a loaded machine takes, by a panel that means to wait."""
    monkeypatch.setattr(lock_access, "GRACE_S", 60.0)


@pytest.fixture
async def source(admin: Any, serve: Any) -> Source:
    """A registered app with locks."""
    source: Source = await serve(lock_app())
    await register(admin, source.openapi)
    return source


@pytest.fixture
async def run(panel: Panel, alice: Any, source: Source) -> Waiting:
    """A run of alice that waits in locks of that app."""
    return await Waiting(panel, alice.id, source).begin()
