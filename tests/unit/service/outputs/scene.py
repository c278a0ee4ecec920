"""A panel of the outputs and timeline alone, over the memory store, for users whom a header names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn
from fastapi import FastAPI, Request
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

import kodosumi.service
from kodosumi.config import Settings
from kodosumi.error import LaunchUnavailable
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.files.memory import MemoryFileStore
from kodosumi.service import outputs, status_page, steering, timeline, timeline_page
from kodosumi.service.auth import User, current_user
from kodosumi.service.context import Panel
from kodosumi.service.errors import install_error_handlers
from kodosumi.service.hub import Hub
from kodosumi.service.security import SecurityHeaders
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport import Transport
from tests.conditions import until

from .jittery import Feed

ADMIN_FILES = Path(kodosumi.service.__file__).parent / "admin"
ADMIN = User("00000000-admin", "admin", "admin@example.com", operator=True, active=True)
ALICE = User("00000000-alice", "alice", "alice@example.com", operator=False, active=True)
BOB = User("00000000-bob", "bob", "bob@example.com", operator=False, active=True)
USERS = {user.name: user for user in (ADMIN, ALICE, BOB)}


@dataclass
class RecordingMode:
    """An execution mode that pauses, resumes and ends runs as it is told, and can be away.

    Attributes:
        steered: what was asked for: action, run and who. gone: runs that don't live here. queue: places.
        held: clear to have actions wait until it's set.
    """

    scene: Scene
    steered: list[tuple[str, str, str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    starting: set[str] = field(default_factory=set)
    queue: dict[str, int] = field(default_factory=dict)
    away: bool = False

    def __post_init__(self) -> None:
        self.held.set()

    @property
    def cancelled(self) -> list[tuple[str, str]]:
        """Runs that were cancelled, and by whom."""
        return [(fid, by) for action, fid, by in self.steered if action == "cancel"]

    async def cancel(self, fid: str, by: str) -> bool:
        return await self._steer("cancel", fid, by, ("error", f"killed by {by}"), ("status", "error"))

    async def pause(self, fid: str, by: str) -> bool:
        return await self._steer("pause", fid, by, ("status", "paused"))

    async def resume(self, fid: str, by: str) -> bool:
        return await self._steer("resume", fid, by, ("status", "running"))

    async def _steer(self, action: str, fid: str, by: str, *events: tuple[str, str]) -> bool:
        self._check()
        self.steered.append((action, fid, by))
        await self.held.wait()
        if fid in self.gone:
            return False
        await self.scene.commit(fid, *events)
        return True

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        self._check()
        return frozenset(self.starting & set(fids))

    async def places(self) -> Mapping[str, int]:
        self._check()
        return self.queue

    def _check(self) -> None:
        if self.away:
            raise LaunchUnavailable("Ray cannot be reached")


class Scene:
    """A store, a hub and a mode, and the executions that a test puts there."""

    def __init__(self, settings: Settings) -> None:
        self.store = MemoryExecutionStore()
        self.feed = Feed()
        self.hub = Hub(self.store, cast(Transport, self.feed))
        self.mode = RecordingMode(self)
        self._offset = 0
        templates = Jinja2Templates(ADMIN_FILES / "templates")
        templates.env.globals["static"] = "/static/{}".format
        parts: dict[str, Any] = dict.fromkeys(each.name for each in fields(Panel))  # what these routes never touch
        parts |= {"settings": settings, "store": self.store, "transport": self.feed, "hub": self.hub}
        self.panel = Panel(**parts | {"mode": self.mode, "templates": templates, "files": MemoryFileStore()})
        self.app = _app(self.panel)

    async def commit(self, fid: str, *events: tuple[str, str], user: User = ALICE) -> None:
        """Stores events as a spooler would, and tells the hub."""
        self._offset += 1
        batch = [Event.now(EventKind(kind), payload) for kind, payload in events]
        await self.store.append(fid, user.id, [Batch(Position(1, self._offset), batch)])
        self.feed.wake(fid)

    async def begun(self, user: User = ALICE, fid: str | None = None, **meta: Any) -> str:
        """An execution that runs; returns its id."""
        fid = fid or new_fid()
        meta = {"fid": fid, "entry_point": "my.app:run", "summary": "My app", "tags": ["x"], **meta}
        head = [("status", "starting"), ("inputs", '{"dict": {"n": 1}}'), ("meta", json.dumps({"dict": meta}))]
        await self.commit(fid, *head, user=user)
        await self.commit(fid, ("status", "running"))
        return fid

    async def finished(self, final: str = '{"Text": {"body": "done"}}', user: User = ALICE, **meta: Any) -> str:
        """An execution that has ended well."""
        fid = await self.begun(user, **meta)
        await self.commit(fid, ("final", final), ("status", "finished"))
        return fid

    def client(self, user: User) -> httpx.AsyncClient:
        """A client that is logged in as ``user``."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://panel", headers={"x-test-user": user.name}
        )


def _app(panel: Panel) -> FastAPI:
    app = FastAPI()
    for module in (outputs, steering, timeline, status_page, timeline_page):
        app.include_router(module.router)
    app.state.panel = panel
    app.dependency_overrides[current_user] = _user_of
    install_error_handlers(app)
    app.add_middleware(SecurityHeaders)
    app.mount("/static", StaticFiles(directory=ADMIN_FILES / "static"))
    return app


def _user_of(request: Request) -> User:
    return USERS[request.headers["x-test-user"]]


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serves ``app`` on a free port and gives its address: for streams and browsers."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, lifespan="off", log_level="error", timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        app.state.panel.hub.end_streams()
        server.should_exit = True
        await serving
