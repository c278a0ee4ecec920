"""A panel that finds apps served for the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kodosumi.service import lock_access
from kodosumi.service.context import Panel
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
