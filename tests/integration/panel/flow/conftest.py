"""A panel that finds apps served for the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.integration.panel.flow.apps import Source


@pytest.fixture
async def serve() -> AsyncGenerator[Callable[[Any], Any]]:
    """Serves an ASGI app at a free port for the rest of the test."""
    async with AsyncExitStack() as stack:

        async def serve(app: Any) -> Source:
            source = await Source(app).start()
            stack.push_async_callback(source.stop)
            return source

        yield serve
