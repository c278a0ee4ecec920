"""Clients that speak to an app in this process, and launches as an endpoint returns them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from kodosumi.launch import LaunchResponse
from kodosumi.serve import ServeAPI

FID = "0123456789abcdef01234567"

Client = Callable[[ServeAPI], AbstractAsyncContextManager[httpx.AsyncClient]]


def launch(problem: Exception | None = None) -> LaunchResponse:
    """A launch that was accepted, or could not be."""
    acceptance: Future[None] = Future()
    if problem is None:
        acceptance.set_result(None)
    else:
        acceptance.set_exception(problem)
    return LaunchResponse(FID, acceptance)


@pytest.fixture
def client_of() -> Client:
    """Makes a client for an app; it raises what the app lets through to its server."""

    @asynccontextmanager
    async def made(app: ServeAPI) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app.test:8000") as client:
            yield client

    return made
