"""``/outputs``: the state of an execution, its live streams, its result, and its deletion."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from ..events import EventKind, is_fid
from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .deletion import MAX_AT_ONCE, deletable, delete_all
from .errors import ApiError
from .executions import visible_execution
from .result_page import result_response
from .sse import EventStream
from .status import final_text, status_object

MAX_BODY_BYTES = 131_072

router = APIRouter(prefix="/outputs", tags=["Outputs"], max_body_size=MAX_BODY_BYTES)

MAIN_KINDS = frozenset(
    {
        EventKind.META,
        EventKind.INPUTS,
        EventKind.AGENT,
        EventKind.STATUS,
        EventKind.ERROR,
        EventKind.ACTION,
        EventKind.RESULT,
        EventKind.FINAL,
        EventKind.LOCK,
        EventKind.LEASE,
        EventKind.ATTEMPT,
    }
)
STDIO_KINDS = frozenset(
    {
        EventKind.ERROR,
        EventKind.STDOUT,
        EventKind.STDERR,
        EventKind.DEBUG,
        EventKind.UPLOAD,
        EventKind.ATTEMPT,
    }
)

_SLICE_CHARS = 65_536
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
    404: {"description": "Unknown, or not yours."},
}

Extended = Annotated[bool, Query(description="Wait longer for an execution that is known to be starting.")]
Raw = Annotated[bool, Query(description="Payloads as stored instead of HTML and YAML.")]
LastId = Annotated[str | None, Query(max_length=64, description="As the header Last-Event-ID, for a first request.")]
LastIdHeader = Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)]


class DeleteBody(BaseModel):
    """Which executions to delete."""

    fid: list[str]


@router.get("/status/{fid}", summary="State of an execution")
async def get_status(fid: str, user: CurrentUser, panel: PanelContext, extended: Extended = False) -> Response:
    """The published status object."""
    execution = await visible_execution(panel, user, fid, extended=extended)
    status = await status_object(panel, execution)
    if len(status["final"] or "") < _SLICE_CHARS:
        return _json(json.dumps(status))
    return _json(await asyncio.to_thread(json.dumps, status))


@router.get("/stream/{fid}", summary="All events, live", response_class=Response, responses=_STREAM)
async def get_stream(
    fid: str,
    user: CurrentUser,
    panel: PanelContext,
    extended: Extended = False,
    last_event_id: LastId = None,
    last_event_id_header: LastIdHeader = None,
) -> EventStream:
    """Server-sent events of every kind, raw."""
    after = _place(last_event_id_header, last_event_id)
    return await _stream(panel, user, fid, kinds=None, converted=False, extended=extended, after=after)


@router.get("/main/{fid}", summary="Results and state, live", response_class=Response, responses=_STREAM)
async def get_main(
    fid: str,
    user: CurrentUser,
    panel: PanelContext,
    extended: Extended = True,
    raw: Raw = False,
    last_event_id: LastId = None,
    last_event_id_header: LastIdHeader = None,
) -> EventStream:
    """Server-sent events of results, state, inputs, agents, locks and attempts."""
    after = _place(last_event_id_header, last_event_id)
    return await _stream(panel, user, fid, kinds=MAIN_KINDS, converted=not raw, extended=extended, after=after)


@router.get("/stdio/{fid}", summary="Output and errors, live", response_class=Response, responses=_STREAM)
async def get_stdio(
    fid: str,
    user: CurrentUser,
    panel: PanelContext,
    extended: Extended = False,
    raw: Raw = False,
    last_event_id: LastId = None,
    last_event_id_header: LastIdHeader = None,
) -> EventStream:
    """Server-sent events of output, debug texts, tracebacks, uploads and attempts."""
    after = _place(last_event_id_header, last_event_id)
    return await _stream(panel, user, fid, kinds=STDIO_KINDS, converted=not raw, extended=extended, after=after)


@router.get("/raw/{fid}", summary="The result itself", responses={409: {"description": "Not finished yet."}})
async def get_raw(fid: str, user: CurrentUser, panel: PanelContext) -> Response:
    """The wrapped JSON of the result; of a failed run the text of its error."""
    text = await _final_of(panel, user, fid)
    if len(text) < _SLICE_CHARS:
        return _json(text)
    return StreamingResponse(_slices(text), media_type="application/json")


@router.get("/html/{fid}", summary="The result as a document", responses={409: {"description": "Not finished yet."}})
async def get_html(fid: str, request: Request, user: CurrentUser, panel: PanelContext) -> Response:
    """A document that stands alone and prints well."""
    text = await _final_of(panel, user, fid)
    return await result_response(panel, request, await panel.store.execution(fid), text)


@router.delete("/{fid}", status_code=204, summary="End and delete an execution")
async def delete_one(fid: str, user: CurrentUser, panel: PanelContext, purge: bool = False) -> Response:
    """Ends it if it lives, then hides it; with ``purge`` its events and files are removed."""
    await delete_all(panel, user, await deletable(panel, user, [fid]), purge)
    return Response(status_code=204)


@router.delete("", status_code=204, summary="End and delete executions")
async def delete_many(body: DeleteBody, user: CurrentUser, panel: PanelContext, purge: bool = False) -> Response:
    """As for one; nothing happens unless all of them may be deleted."""
    if len(body.fid) > MAX_AT_ONCE:
        raise ApiError(400, f"At most {MAX_AT_ONCE} executions can be deleted at once.")
    if broken := [fid for fid in body.fid if not is_fid(fid)]:
        raise ApiError(400, f"Not an execution id: {broken[0][:40]!r}.")
    await delete_all(panel, user, await deletable(panel, user, body.fid), purge)
    return Response(status_code=204)


async def _stream(
    panel: Panel,
    user: User,
    fid: str,
    *,
    kinds: Collection[EventKind] | None,
    converted: bool,
    extended: bool,
    after: int,
) -> EventStream:
    await visible_execution(panel, user, fid, extended=extended)
    return EventStream(panel.hub.stream(fid, kinds=kinds, converted=converted, after=after))


def _place(header: str | None, query: str | None) -> int:
    """The ``seq`` a client has already; the header is the newer one when a browser connects again by itself.

    What isn't a place starts from the beginning: a proxy or an old client must never make a reader miss events.
    """
    text = header if header else query or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


async def _final_of(panel: Panel, user: User, fid: str) -> str:
    execution = await visible_execution(panel, user, fid)
    if not execution.state.terminal:
        raise ApiError(409, f"Execution {fid} has no result yet: it is {execution.shown_state.value}.")
    return await final_text(panel, execution) or "null"


def _slices(text: str) -> Iterator[bytes]:
    """A long text as bytes without a second whole copy of it."""
    return (text[start : start + _SLICE_CHARS].encode() for start in range(0, len(text), _SLICE_CHARS))


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
