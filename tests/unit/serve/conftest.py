"""Clients that speak to an app in this process, and launches as an endpoint returns them."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from kodosumi import launcher as launchers
from kodosumi.config import Settings
from kodosumi.execution.memory import MemoryMode
from kodosumi.launch import LaunchResponse
from kodosumi.launcher import Launcher
from kodosumi.runner.spec import RunSpec
from kodosumi.serve import ServeAPI
from kodosumi.transport.memory import MemoryTransport

from .panel import FID, FilesDoor

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


class NotedMode(MemoryMode):
    """The memory mode, which tells what it was given.

    Attributes:
        specs: of all launches. problem: raised instead of accepting one. runs: whether accepted ones run at all.
    """

    def __init__(self) -> None:
        super().__init__(MemoryTransport(uuid.uuid4().hex))
        self.specs: list[RunSpec] = []
        self.problem: Exception | None = None
        self.runs = False

    async def launch(self, spec: RunSpec) -> None:
        if self.problem is not None:
            raise self.problem
        self.specs.append(spec)
        if self.runs:
            await super().launch(spec)


@functools.cache
def only_launcher() -> Launcher:
    """One thread for all tests of this process."""
    return Launcher(Settings(execution_mode="memory", event_transport="memory", _env_file=None))


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> NotedMode:
    """What this process launches with, in this process."""
    launcher = only_launcher()
    noted = NotedMode()
    monkeypatch.setattr(launcher, "mode", noted)
    monkeypatch.setattr(launchers, "_launcher_of", lambda pid: launcher)
    return noted


@pytest.fixture
async def door() -> AsyncIterator[FilesDoor]:
    """A panel's files, served."""
    async with FilesDoor().served() as served:
        yield served
