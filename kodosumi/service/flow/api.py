"""``/flow``: which flows there are, and, for operators, where they come from."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from ..auth import CurrentUser, Operator
from ..context import Panel, PanelContext
from ..errors import ApiError
from .catalog import UnknownOffset
from .document import Endpoint
from .register import FlowRegister, RegisterError

MAX_PAGE = 1000
MAX_SOURCES = 200


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Puts the register into ``app.state`` and keeps it fresh for as long as the panel serves."""
    panel: Panel = app.state.panel
    register = FlowRegister(panel.database, panel.http, panel.settings)
    app.state.flow_register = register
    task = asyncio.create_task(register.run(), name="flow register")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


router = APIRouter(prefix="/flow", tags=["Flows"], lifespan=lifespan, max_body_size=1_048_576)


def register_of(connection: HTTPConnection) -> FlowRegister:
    """The register of the panel that serves this request."""
    register: FlowRegister = connection.app.state.flow_register
    return register


Register = Annotated[FlowRegister, Depends(register_of)]
"""Parameter type of routes that need the register."""

PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Flows per page.")]
Search = Annotated[str, Query(max_length=500, description="Part of what describes a flow, ignoring case.")]
Offset = Annotated[str | None, Query(max_length=64, description="`offset` of the page before.")]

_Url = Annotated[str, Field(max_length=2000)]


class SourceUrls(BaseModel):
    """One source or several: an OpenAPI document or Ray Serve's ``/-/routes``."""

    url: _Url | Annotated[list[_Url], Field(min_length=1, max_length=MAX_SOURCES)]

    @property
    def urls(self) -> list[str]:
        """As a list."""
        return [self.url] if isinstance(self.url, str) else self.url


class FlowPage(BaseModel):
    """A page of flows; ``offset`` leads to the next one and is null at the end."""

    items: list[Endpoint]
    offset: str | None


class Sources(BaseModel):
    """Registered sources, and those that the configuration names."""

    routes: list[str]
    registers: list[str]


class Refresh(BaseModel):
    """What a refresh found: flows by summary and place, flows gone, sources, sources that answered."""

    summaries: list[str]
    urls: list[str]
    deletes: list[str]
    sources: list[str]
    connected: list[str]


class Deleted(BaseModel):
    """Places of flows that are gone."""

    deletes: list[str]


@router.get("", summary="Flows, by name")
async def flows(
    user: CurrentUser, register: Register, q: Search = "", pp: PageSize = 10, offset: Offset = None
) -> FlowPage:
    """A page of the flows that match ``q``."""
    offset = offset or None
    if offset is not None and not re.fullmatch(r"[0-9a-f]{32}", offset):
        raise ApiError(400, "offset is the `offset` of the page before; leave it out for the first page.")
    try:
        page = (await register.catalog()).page(q, pp, offset)
    except UnknownOffset:
        raise ApiError(400, "No flow has this offset any more; start again without it.") from None
    return FlowPage(items=page.items, offset=page.offset)


@router.get("/tags", summary="Tags with their number of flows")
async def tags(user: CurrentUser, register: Register) -> dict[str, int]:
    """How many flows have each tag."""
    return (await register.catalog()).tags()


@router.get("/register", summary="Registered sources")
async def sources(user: CurrentUser, register: Register, panel: PanelContext) -> Sources:
    """Where flows come from."""
    routes = [source.url for source in await register.sources()]
    return Sources(routes=routes, registers=panel.settings.register_flow)


@router.post("/register", status_code=201, summary="Register sources")
async def add(given: SourceUrls, operator: Operator, register: Register) -> list[Endpoint]:
    """Reads sources and adds them; 400 with the reasons, and nothing added, when one cannot be read."""
    try:
        apps = await register.register(given.urls)
    except RegisterError as exc:
        raise ApiError(400, str(exc)) from None
    found = {flow.uid: flow for app in apps for flow in app.endpoints}
    return sorted(found.values(), key=lambda flow: (flow.summary, flow.url))


@router.put("/register", summary="Refresh all sources")
async def refresh(operator: Operator, register: Register) -> Refresh:
    """Reads every source again, now."""
    done = await register.refresh()
    return Refresh(
        summaries=[flow.summary for flow in done.catalog.flows],
        urls=[flow.url for flow in done.catalog.flows],
        deletes=done.gone,
        sources=done.sources,
        connected=done.connected,
    )


@router.post("/unregister", summary="Unregister sources")
async def remove(given: SourceUrls, operator: Operator, register: Register) -> Deleted:
    """Removes sources with their flows; 404 when none of them is registered."""
    gone = await register.unregister(given.urls)
    if gone is None:
        raise ApiError(404, "No such source is registered.")
    return Deleted(deletes=gone)
