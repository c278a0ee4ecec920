"""``/admin/flow``: the flows, with search and pages; works without a script."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from .auth import CurrentUser
from .context import PanelContext
from .flow.api import Register, Search
from .flow.catalog import Page, UnknownOffset

router = APIRouter(include_in_schema=False)

PAGE_FLOWS = 25
SHOWN_TAGS = 30


@router.get("/admin/flow")
async def flow_page(
    request: Request, user: CurrentUser, panel: PanelContext, register: Register, q: Search = "", offset: str = ""
) -> Response:
    """The flows that match ``q``, from the one after ``offset``."""
    catalog = await register.catalog()
    try:
        page = catalog.page(q, PAGE_FLOWS, offset or None)
    except UnknownOffset:
        # A link from before the flow went away: the first page serves better than an error.
        page = catalog.page(q, PAGE_FLOWS, None)
    tags = sorted(catalog.tags().items(), key=lambda each: (-each[1], each[0]))[:SHOWN_TAGS]
    context = {
        "page": page,
        "q": q,
        "tags": [(tag, count, _address(q=tag)) for tag, count in sorted(tags)],
        "found": len(catalog.search(q)),
        "total": len(catalog.flows),
        "more": _more(page, q),
        "first": not offset,
        "sources": len(await register.sources()) if not catalog.flows else 0,
    }
    return panel.templates.TemplateResponse(request, "flow.html", context)


def _more(page: Page, q: str) -> str:
    return _address(q=q, offset=page.offset) if page.offset else ""


def _address(**query: str) -> str:
    given = urlencode({name: value for name, value in query.items() if value})
    return f"/admin/flow?{given}" if given else "/admin/flow"
