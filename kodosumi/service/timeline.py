"""``/timeline``: pages and changes of a user's executions (an operator's: everyone's), from the store's index.

Every call costs the same whatever lies behind the page: one keyset page, a kept count, a page of changes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from ..events import is_fid
from ..store import Execution
from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .errors import ApiError
from .timeline_item import timeline_item

router = APIRouter(prefix="/timeline", tags=["Timeline"])

MAX_PAGE = 100
"""Most rows of one answer; a larger ``pp`` gets this many."""

MAX_CHANGES = 200
_CLOCK_SLACK_S = 5.0

PageSize = Annotated[int, Query(ge=1, description=f"Rows per page; at most {MAX_PAGE} are given.")]
Search = Annotated[str, Query(max_length=500, description="Part of what an execution is known by, ignoring case.")]
Text = Annotated[str, Query(max_length=64)]


@dataclass(frozen=True, slots=True)
class _Changes:
    """What changed after a cursor. ``timestamp`` is the next cursor."""

    updated: list[Execution]
    deleted: list[str]
    timestamp: float


@router.get("", include_in_schema=False)
async def get_timeline(
    user: CurrentUser,
    panel: PanelContext,
    mode: Literal["next", "update"] = "next",
    pp: PageSize = 10,
    q: Search = "",
    origin: Text = "",
    offset: Text = "",
    timestamp: Text = "",
) -> dict[str, Any]:
    """The next page below ``offset``, or what is new above ``origin`` and changed after ``timestamp``."""
    offset_fid, origin_fid = _fid("offset", offset), _fid("origin", origin)
    cursor = _cursor("timestamp", timestamp)
    if mode == "next":
        return await _next(panel, user, min(pp, MAX_PAGE), q, origin_fid, offset_fid, cursor)
    return await _update(panel, user, q, origin_fid, offset_fid, cursor)


@router.get("/list", summary="Executions, newest first")
async def get_list(
    user: CurrentUser, panel: PanelContext, pp: PageSize = 10, q: Search = "", offset: Text = ""
) -> dict[str, Any]:
    """A page below ``offset``; the answer's ``offset`` leads to the next one and is null at the end."""
    page = await _page(panel, user, min(pp, MAX_PAGE), q, _fid("offset", offset))
    return {"items": _items(page.rows), "query": q, "offset": page.offset}


@router.get("/changes", summary="Executions changed since")
async def get_changes(user: CurrentUser, panel: PanelContext, since: Text = "", q: Search = "") -> dict[str, Any]:
    """What changed after ``since`` (an earlier answer's ``timestamp``); without it: the present cursor only."""
    changes = await _changes(panel, user, q, _cursor("since", since))
    return {
        "update": _items(changes.updated),
        "delete": changes.deleted,
        "timestamp": changes.timestamp,
        "query": q,
    }


async def _next(
    panel: Panel, user: User, pp: int, q: str, origin: str | None, offset: str | None, cursor: float | None
) -> dict[str, Any]:
    # taken before the page is read: what changes in between comes with the first update
    timestamp = _present_cursor() if cursor is None else cursor
    page = await _page(panel, user, pp, q, offset)
    first = page.rows[0].fid if page.rows else None
    items = {"append": _items(page.rows), "insert": [], "update": [], "delete": []}
    return await _answer(panel, user, q, origin or first, page.offset, timestamp, items)


async def _update(
    panel: Panel, user: User, q: str, origin: str | None, offset: str | None, cursor: float | None
) -> dict[str, Any]:
    changes = await _changes(panel, user, q, cursor)
    rows = {execution.fid: execution for execution in changes.updated}
    if cursor is None:
        # a client without a cursor gets the newest above its origin; with one, changes has every new row
        above = await panel.store.executions(username=_scope(user), query=q, after=origin, limit=MAX_PAGE)
        rows |= {execution.fid: execution for execution in above}
    new = [rows[fid] for fid in sorted(rows, reverse=True) if origin is None or fid > origin]
    old = [execution for execution in rows.values() if origin is not None and execution.fid <= origin]
    items = {"append": [], "insert": _items(new), "update": _items(old), "delete": changes.deleted}
    newest = new[0].fid if new else origin
    return await _answer(panel, user, q, newest, offset, changes.timestamp, items)


async def _answer(
    panel: Panel, user: User, q: str, origin: str | None, offset: str | None, timestamp: float, items: dict[str, Any]
) -> dict[str, Any]:
    return {
        "total": await panel.store.count(username=_scope(user)),
        "origin": origin,
        "offset": offset,
        "timestamp": timestamp,
        "items": items,
        "query": q,
    }


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Execution]
    offset: str | None


async def _page(panel: Panel, user: User, pp: int, q: str, offset: str | None) -> _Page:
    """One page, read with one row more to know whether another one follows."""
    rows = await panel.store.executions(username=_scope(user), query=q, before=offset, limit=pp + 1)
    return _Page(rows[:pp], rows[pp - 1].fid if len(rows) > pp else None)


async def _changes(panel: Panel, user: User, q: str, since: float | None) -> _Changes:
    if since is None:
        return _Changes([], [], _present_cursor())
    changes = await panel.store.changes(since, username=_scope(user), query=q, limit=MAX_CHANGES)
    updated = [change.execution for change in changes if not change.execution.archived]
    deleted = [change.execution.fid for change in changes if change.execution.archived]
    return _Changes(updated, deleted, changes[-1].modified_at if changes else since)


def _present_cursor() -> float:
    """A cursor a little before now: a row given twice does no harm, one that is missed does."""
    return time.time() - _CLOCK_SLACK_S


def _scope(user: User) -> str | None:
    return None if user.operator else user.id


def _items(rows: list[Execution]) -> list[dict[str, Any]]:
    now = time.time()
    return [timeline_item(execution, now) for execution in rows]


def _fid(name: str, text: str) -> str | None:
    if not text:
        return None
    if not is_fid(text):
        raise ApiError(400, f"{name}={text!r} is not an execution id; give the {name} of an earlier answer.")
    return text


def _cursor(name: str, text: str) -> float | None:
    """Seconds since the epoch, or None when none was given."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ApiError(400, f"{name}={text!r} is not a time; give the timestamp of an earlier answer.")
    return seconds
