"""Builds the parts of one panel process when it starts and takes them down, in order, when it ends."""

from __future__ import annotations

import asyncio
import functools
import http.cookiejar
import logging
import ssl
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Request
from starlette.templating import Jinja2Templates

from .. import __version__, schema
from ..config import Settings
from ..error import StoreUnavailable
from ..execution import ExecutionMode, connect_mode
from ..files import connect_files, connect_uploads
from ..identity import PUBLISHED_PREFIX, IdentitySigner
from ..store import ExecutionStore, connect_store
from ..transport import Transport, connect_transport
from .accounts import default_password_in_use, ensure_first_operator, has_roles
from .closing import announce_closing
from .context import Panel
from .database import AdminDatabase
from .health import Health
from .hub import Hub
from .jwt import SessionTokens
from .login_guard import LoginGuard
from .metering import Meters, PartFigures
from .secrets import require_safe_password, secret_key

logger = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "admin" / "templates"
MAX_CONNECTIONS = 500
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 5.0
PUBLISH_AGAIN_S = 30.0


@asynccontextmanager
async def open_panel(
    app: FastAPI,
    settings: Settings,
    store: ExecutionStore | None,
    transport: Transport | None,
    mode: ExecutionMode | None,
) -> AsyncGenerator[Panel]:
    """Puts a panel into ``app.state`` for as long as the block lasts. Needs the admin database; Ray may come later.

    Raises:
        ConfigurationError: what the panel must not start with, and what to set.
        StoreUnavailable: it was asked to end while it waited for a database.
    """
    secret = await asyncio.to_thread(secret_key, settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened_database(settings))
        if store is None:
            await _patiently(schema.until_current(settings, "execution"))
            store = connect_store(settings)
            stack.push_async_callback(store.close)
        if transport is None:
            transport = connect_transport(settings)
            stack.push_async_callback(transport.close)
        if mode is None:
            mode = connect_mode(settings)
            stack.push_async_callback(mode.close)
        files, uploads = connect_files(settings), connect_uploads(settings)
        stack.push_async_callback(files.close)
        stack.push_async_callback(uploads.close)
        meters: Meters = app.state.meters
        hub = Hub(store, transport, sent=meters.sent_on)
        panel = Panel(
            settings=settings,
            store=store,
            transport=transport,
            mode=mode,
            hub=hub,
            database=database,
            http=await stack.enter_async_context(_http_client(settings)),
            identity=IdentitySigner(secret),
            tokens=SessionTokens(secret),
            login_guard=LoginGuard(),
            templates=_templates(),
            files=files,
            uploads=uploads,
            meters=meters,
        )
        app.state.panel = panel
        app.state.health = Health(panel)
        stack.push_async_callback(app.state.health.close)
        app.state.figures = PartFigures(panel, app.state.health)
        stack.push_async_callback(app.state.figures.close)
        await hub.start()
        stack.push_async_callback(hub.close)
        app.state.closing = stack.enter_context(announce_closing(hub.end_streams))
        if panel.on_ray:
            stack.push_async_callback(_cancelled, asyncio.create_task(_publish_identity(panel), name="identity"))
        yield panel


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncGenerator[AdminDatabase]:
    """The admin database with its tables and a first operator, refused where its passwords are unsafe.

    Raises:
        ConfigurationError: says what to set.
        StoreUnavailable: this process was asked to end while it waited for the database.
    """
    database = AdminDatabase(settings)
    try:
        await _patiently(database.open())
        default = Settings.model_fields["admin_password"].default
        if settings.admin_password == default:
            require_safe_password(settings, not await has_roles(database))
        await ensure_first_operator(database, settings)
        if not settings.bound_to_loopback:
            require_safe_password(settings, await default_password_in_use(database))
        yield database
    finally:
        await database.close()


async def _patiently(opening: Coroutine[Any, Any, None]) -> None:
    """Waits for a database; a signal ends the waiting, which no server does while its application starts.

    Raises:
        StoreUnavailable: it was ended by a signal.
    """
    waiting = asyncio.ensure_future(opening)

    def end() -> None:
        waiting.cancel()

    with announce_closing(end):
        try:
            await waiting
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if this is None or this.cancelling():
                raise
            raise StoreUnavailable("Ended before the database could be reached.") from None


@functools.cache
def _trusted_certificates() -> ssl.SSLContext:
    # Reading them takes as long as the rest of a start.
    return ssl.create_default_context()


def _http_client(settings: Settings) -> httpx.AsyncClient:
    # One client serves all users: a cookie that an app sets for one of them must never go out for another.
    no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        cookies=no_cookies,
        follow_redirects=False,
        timeout=settings.proxy_timeout,
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=50),
        verify=_trusted_certificates(),
        trust_env=False,
    )


def _templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=TEMPLATES, context_processors=[_everywhere])
    templates.env.globals["static"] = lambda path: f"/static/{path}?v={__version__}"
    return templates


def _everywhere(request: Request) -> dict[str, Any]:
    return {"user": getattr(request.state, "user", None), "here": request.url.path, "version": __version__}


async def _publish_identity(panel: Panel) -> None:
    # Apps verify who the user is with this key. Ray may be away, and forgets what was published when it restarts.
    from .. import cluster

    key, value = PUBLISHED_PREFIX + panel.identity.key_id, panel.identity.public_key
    retry_s = FIRST_RETRY_S
    while True:
        try:
            await cluster.attached(panel.settings)
            if await cluster.membership.blocking(cluster.published, key) != value:
                await cluster.membership.blocking(cluster.publish, key, value)
                logger.info("identity key %s published on the cluster", panel.identity.key_id)
            retry_s = FIRST_RETRY_S
            await asyncio.sleep(PUBLISH_AGAIN_S)
        except Exception as exc:
            logger.debug("identity key not published yet: %s", exc)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
