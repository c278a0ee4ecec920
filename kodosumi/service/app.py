"""The panel's ASGI application: its routes, its middleware and the parts it builds when it starts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from .. import __version__
from ..config import Settings, load_settings
from ..execution import ExecutionMode
from ..store import ExecutionStore
from ..transport import Transport
from .errors import UnforeseenErrors, install_error_handlers
from .metering import MeteredRequests, Meters
from .parts import open_panel
from .request_id import RequestId, name_run
from .security import SecurityHeaders

MODULES = (
    "login",
    "role",
    "health",
    "metrics",
    "schema",
    "flow",
    "flow_page",
    "proxy",
    "inputs.views",
    "lock",
    "lock_page",
    "routes",
    "outputs",
    "steering",
    "files.routes",
    "status_page",
    "timeline",
    "timeline_page",
)
"""Modules of this package, each with a ``router``."""

STATIC = Path(__file__).parent / "admin" / "static"


def create_app(
    *,
    store: ExecutionStore | None = None,
    transport: Transport | None = None,
    mode: ExecutionMode | None = None,
    **settings: Any,
) -> FastAPI:
    """The panel, ready for an ASGI server; nothing is opened before its lifespan begins.

    Args:
        store: a ready-made store, closed by whoever made it; by default what the settings choose.
        transport: likewise. mode: likewise.
        settings: fields of :class:`~kodosumi.config.Settings`; they win over the environment.

    Raises:
        ConfigurationError: a setting that cannot be read.
    """
    loaded = load_settings(**settings)
    app = FastAPI(
        title="kodosumi",
        version=__version__,
        description="Flows, executions, their results and live streams.",
        lifespan=_lifespan(loaded, store, transport, mode),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(name_run)],
    )
    install_error_handlers(app)
    app.add_middleware(UnforeseenErrors)
    if loaded.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            # With credentials a wildcard would hand every site the user's session.
            allow_origins=[origin for origin in loaded.cors_origins if origin != "*"],
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    app.state.meters = Meters()
    app.add_middleware(MeteredRequests, meters=app.state.meters)
    for name in MODULES:
        app.include_router(import_module(f".{name}", __package__).router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _lifespan(
    settings: Settings, store: ExecutionStore | None, transport: Transport | None, mode: ExecutionMode | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_panel(app, settings, store, transport, mode):
            yield

    return lifespan
