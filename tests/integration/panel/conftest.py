"""A whole panel for tests: the real application over the in-memory store and transport, with three users logged in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from kodosumi.runner.spec import AppEnvironment, RunSpec
from kodosumi.service import passwords
from kodosumi.service.app import create_app
from kodosumi.service.context import Panel
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.people import logged_in, new_user

ADDRESS = "http://localhost:3370"


class RecordingMode:
    """An execution mode that starts nothing and remembers what it was asked for.

    Attributes:
        launched: the specs. cancelled: pairs of fid and who. living: fids that count as running here.
        waiting: place of each waiting run.
    """

    name = "memory"

    def __init__(self) -> None:
        self.launched: list[RunSpec] = []
        self.cancelled: list[tuple[str, str]] = []
        self.living: set[str] = set()
        self.waiting: dict[str, int] = {}
        self.on_cancel: Callable[[str, str], Any] | None = None

    async def launch(self, spec: RunSpec) -> None:
        self.launched.append(spec)
        self.living.add(spec.fid)

    async def cancel(self, fid: str, by: str) -> bool:
        self.cancelled.append((fid, by))
        if self.on_cancel is not None:
            await self.on_cancel(fid, by)
        known = fid in self.living
        self.living.discard(fid)
        return known

    async def pause(self, fid: str, by: str) -> bool:
        return fid in self.living

    async def resume(self, fid: str, by: str) -> bool:
        return fid in self.living

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return frozenset(self.living.intersection(fids))

    async def places(self) -> dict[str, int]:
        return dict(self.waiting)

    async def configure(self) -> None: ...

    async def refuse(self, reason: str | None) -> None: ...

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None: ...

    async def figures(self) -> dict[str, int]:
        return {"waiting": len(self.waiting), "running": len(self.living)}

    async def restarted(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest cost that bcrypt knows."""
    monkeypatch.setattr(passwords, "ROUNDS", 4)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Settings of the panel; a test may override this fixture, or add to it before it asks for the panel."""
    return {
        "admin_database": f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        "exec_dir": tmp_path / "execution",
        "upload_dir": tmp_path / "uploads",
        "event_transport": "memory",
        "execution_mode": "memory",
        "execution_database": "memory://",
        "app_server": ADDRESS,
        "app_log_file": None,
    }


@pytest.fixture
def store() -> MemoryExecutionStore:
    return MemoryExecutionStore()


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def mode() -> RecordingMode:
    return RecordingMode()


@pytest.fixture
async def app(
    options: dict[str, Any], store: MemoryExecutionStore, transport: MemoryTransport, mode: RecordingMode
) -> AsyncGenerator[FastAPI]:
    """The panel's application, started."""
    app = create_app(store=store, transport=transport, mode=mode, **options)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def panel(app: FastAPI) -> Panel:
    """The started panel's parts."""
    return app.state.panel


@pytest.fixture
async def visit(app: FastAPI) -> AsyncGenerator[Callable[[], httpx.AsyncClient]]:
    """Makes clients of the panel, in this process, each with cookies of its own; none follows redirects."""
    async with AsyncExitStack() as stack:
        clients: list[httpx.AsyncClient] = []

        def visitor() -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url=ADDRESS, follow_redirects=False)
            clients.append(client)
            stack.push_async_callback(client.aclose)
            return client

        yield visitor


@pytest.fixture
def client(visit: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
    """Somebody who isn't logged in."""
    return visit()


@pytest.fixture
async def admin(visit: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
    """The first operator, logged in by cookie; ``admin.id`` is the role id."""
    return await logged_in(visit(), "admin", "admin")


@pytest.fixture
async def alice(visit: Callable[[], httpx.AsyncClient], admin: httpx.AsyncClient) -> httpx.AsyncClient:
    """A user, logged in by cookie; ``alice.id`` is the role id."""
    return await new_user(visit(), admin, "alice")


@pytest.fixture
async def bob(visit: Callable[[], httpx.AsyncClient], admin: httpx.AsyncClient) -> httpx.AsyncClient:
    """Another user, logged in by cookie; ``bob.id`` is the role id."""
    return await new_user(visit(), admin, "bob")


@pytest.fixture
async def address(app: FastAPI) -> AsyncGenerator[str]:
    """Where the started panel is served by a real server: for streams and browsers."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, lifespan="off", log_level="error", timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    app.state.panel.hub.end_streams()
    server.should_exit = True
    await serving
