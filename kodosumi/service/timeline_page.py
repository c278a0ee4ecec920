"""``/admin/timeline/view``: all executions of a user, newest first, live."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from .auth import CurrentUser
from .context import PanelContext

router = APIRouter(include_in_schema=False)

PAGE_ROWS = 25
"""Rows that the page loads at once as it is scrolled."""


@router.get("/admin/timeline/view")
async def timeline_page(request: Request, user: CurrentUser, panel: PanelContext) -> Response:
    """The page; ``timeline.js`` fills it from ``/timeline``."""
    return panel.templates.TemplateResponse(request, "timeline.html", {"user": user, "page_rows": PAGE_ROWS})
