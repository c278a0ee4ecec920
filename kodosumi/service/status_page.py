"""``/admin/status/view/{fid}``: one execution, live, with its result, its output and its events."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ..error import ExecutionNotFound
from ..events import is_fid
from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .executions import GRACE_S, is_recent, may_see

router = APIRouter(include_in_schema=False)


@router.get("/admin/status/view/{fid}")
async def status_page(fid: str, request: Request, user: CurrentUser, panel: PanelContext) -> Response:
    """The page; ``status.js`` fills it from ``/outputs``.

    An execution that was accepted a moment ago gets its page even if its first events are still on their way.
    """
    found = await _can_open(panel, user, fid)
    context = {"user": user, "fid": fid, "missing": not found}
    return panel.templates.TemplateResponse(request, "status.html", context, status_code=200 if found else 404)


async def _can_open(panel: Panel, user: User, fid: str) -> bool:
    if not is_fid(fid):
        return False
    try:
        execution = await panel.hub.execution(fid, GRACE_S)
    except ExecutionNotFound:
        return is_recent(fid)
    return not execution.archived and may_see(user, execution)
