"""What every route of the panel shares: made once per process by ``app.py``, reached through :data:`PanelContext`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, NamedTuple

import httpx
from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.templating import Jinja2Templates

from ..config import Settings
from ..execution import ExecutionMode
from ..files.base import FileStore
from ..identity import IdentitySigner
from ..store import ExecutionStore
from ..transport import Transport
from .metering.meters import Meters

if TYPE_CHECKING:
    from .database import AdminDatabase
    from .hub import Hub
    from .jwt import SessionTokens
    from .login_guard import LoginGuard


class FilesPlace(NamedTuple):
    """Where runs on this machine find their files without asking the panel.

    Attributes:
        root: absolute folder of the file store, "" when it keeps them elsewhere.
        mark: what marks that folder as this store's.
    """

    root: str = ""
    mark: str = ""


@dataclass(slots=True)
class Panel:
    """The parts of one panel process.

    Attributes:
        settings: as loaded at start.
        store: executions and events (read only here, but for archive and purge).
        transport: for wake-ups and health; the panel never reads events from it.
        mode: steers runs (cancel, places).
        hub: follows executions for SSE viewers.
        database: roles, sessions, registered sources.
        http: client towards apps, no cookies, no redirects.
        identity: signs who the user is, towards apps.
        tokens: makes and reads session tokens.
        login_guard: slows down whoever guesses passwords.
        templates: pages.
        files: of executions.
        uploads: parts of uploads in progress.
        files_place: of ``files``, once a run had to be told.
        meters: what this panel counts and measures.
    """

    settings: Settings
    store: ExecutionStore
    transport: Transport
    mode: ExecutionMode
    hub: Hub
    database: AdminDatabase
    http: httpx.AsyncClient
    identity: IdentitySigner
    tokens: SessionTokens
    login_guard: LoginGuard
    templates: Jinja2Templates
    files: FileStore
    uploads: FileStore
    files_place: FilesPlace | None = None
    meters: Meters = field(default_factory=Meters)

    @property
    def on_ray(self) -> bool:
        """Whether its runs, or their events, are on a Ray cluster."""
        return "ray" in (self.transport.name, self.settings.event_transport) or self.mode.name != "memory"


async def panel_of(connection: HTTPConnection) -> Panel:
    """The panel that serves this request. Async, since FastAPI runs what is not in a thread, for every request."""
    panel: Panel = connection.app.state.panel
    return panel


PanelContext = Annotated[Panel, Depends(panel_of)]
"""Parameter type of routes that need the panel's parts."""
