"""A panel that a run reaches over the network, with the real files API over a local folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp

from kodosumi.events import new_fid
from kodosumi.runner.files import AsyncFileSystem, SyncFileSystem
from kodosumi.service import passwords
from kodosumi.service.app import create_app
from kodosumi.service.context import Panel
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.conftest import RecordingMode

OWNER = "11111111-1111-4111-8111-111111111111"


class ServedPanel:
    """A panel and one run that it has just let launch.

    Attributes:
        panel: its parts. port: on 127.0.0.1. fid: of the run. token: of the run. home: the run's folder.
    """

    def __init__(self, panel: Panel, port: int) -> None:
        self.panel = panel
        self.port = port
        self.fid = new_fid()
        self.token = self.token_of(self.fid)
        self.home = panel.settings.exec_dir / OWNER / self.fid

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def token_of(self, fid: str) -> str:
        """The key of a run to its files."""
        return self.panel.identity.grant(OWNER, fid, launches=True)

    def system(self, kind: type[Any], port: int | None = None) -> AsyncFileSystem | SyncFileSystem:
        """The run's file system, also through another port."""
        made: AsyncFileSystem | SyncFileSystem = kind(self.fid, f"http://127.0.0.1:{port or self.port}", self.token)
        made.chunk_size = 10_000
        return made

    async def uploads(self) -> list[str]:
        """What is left of uploads in progress."""
        return [file.path for file in await self.panel.uploads.list(OWNER) if "-done/" not in file.path]


@asynccontextmanager
async def served_panel(folder: Path, **settings: Any) -> AsyncIterator[ServedPanel]:
    """A panel over a fresh folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "ROUNDS", 4)
        app = create_app(
            store=MemoryExecutionStore(),
            transport=MemoryTransport(),
            mode=RecordingMode(),  # type: ignore[arg-type]
            admin_database=f"sqlite+aiosqlite:///{folder}/admin.db",
            exec_dir=folder / "execution",
            upload_dir=folder / "uploads",
            event_transport="memory",
            execution_mode="memory",
            execution_database="memory://",
            app_log_file=None,
            **settings,
        )
        async with app.router.lifespan_context(app), served(app) as port:
            yield ServedPanel(app.state.panel, port)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """The port where an application is served."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, lifespan="off", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
