"""``/lock``: the locks of a run, their forms and their answers, as JSON.

The panel decides who may answer, from what is stored; the app has the form and takes the answer; the run decides which
answer is the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from ..store import Execution
from .assignees import Assigned, assigned, names_of
from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .errors import ApiError
from .executions import visible_execution
from .flow.address import OPENAPI, BadAddress, source_address
from .flow.api import Register
from .flow.catalog import Catalog
from .flow.fetch import is_allowed
from .forwarding import LOCK_ROUTE, Destination, passed_to_app, send_on
from .inputs.answer import Answer, ask, read_answer
from .lock_access import StoredLock, after_release, answerable, fate_of, refused, stored_locks

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_LISTED = 1_000

router = APIRouter(prefix="/lock", tags=["Locks"], max_body_size=MAX_BODY_BYTES)

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "Unknown, released, or not for you."}}
_TAKEN: dict[int | str, dict[str, Any]] = {409: {"description": "It has its answer, or has expired."}}
_FIELDS = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


class LockState(BaseModel):
    """A lock as who may see its run sees it; times are seconds since the epoch."""

    lid: str
    name: str
    state: Literal["open", "answered", "expired", "withdrawn", "closed"]
    opened: float
    expires: float | None
    assignee: list[str] | None
    four_eyes: bool
    may_answer: bool
    by: str | None = None
    by_name: str | None = None
    at: float | None = None


@router.get("/{fid}", summary="Locks of a run")
async def list_locks(fid: str, user: CurrentUser, panel: PanelContext) -> list[LockState]:
    """The locks of a run, oldest first, the newest 1,000: who is asked, who answered and when."""
    execution = await visible_execution(panel, user, fid)
    locks = list((await stored_locks(panel, execution)).values())[-MAX_LISTED:]
    names = await names_of(panel.database, {lock.release.by for lock in locks if lock.release and lock.release.by})
    roles = await assigned(panel.database, (text for lock in locks for text in lock.assignee or ()))
    return [_state(user, execution, lock, names, roles) for lock in locks]


@router.get("/{fid}/{lid}", summary="Form of a lock", responses=_UNKNOWN)
async def show_lock(
    fid: str, lid: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> list[dict[str, Any]]:
    """The elements of the form that its app shows for a lock that waits for its answer."""
    execution, lock = await answerable(panel, user, fid, lid)
    if lock.release is not None:
        raise released(404, lock)
    to = destination_of(panel, await register.catalog(), execution, lock)
    return elements_of(await ask(panel, user, to, request, "GET", lock_of=fid))


@router.post("/{fid}/{lid}", summary="Answer a lock", responses=_UNKNOWN | _TAKEN, openapi_extra=_FIELDS)
async def answer_lock(
    fid: str, lid: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """Gives a lock its answer, as a JSON object of the form's fields: ``{"result", "elements"}``.

    ``{"errors", "elements"}`` when the form isn't accepted; the lock then stays open.
    """
    (execution, lock), catalog = await asyncio.gather(answerable(panel, user, fid, lid), register.catalog())
    if lock.release is not None:
        raise released(409, lock, str(await fate_of(panel, lock)))
    to = destination_of(panel, catalog, execution, lock)
    response = await send_on(panel, user, to, request, "POST", passed_to_app(request), await _whole(request), fid)
    answer = await read_answer(response, panel)
    gone = await after_release(panel, execution, lock, answer.status)
    if gone is not None:
        raise released(409, gone, str(await fate_of(panel, gone)))
    if answer.status != 200 or not answer.data:
        raise failed(answer)
    return JSONResponse(answer.data)


async def _whole(request: Request) -> bytes:
    """The body, when all of it is here: an app holds the lock for who answers from the first byte on."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise ApiError(400, "The request was broken off.") from None


def destination_of(panel: Panel, catalog: Catalog, execution: Execution, lock: StoredLock) -> Destination:
    """Where the app of a run takes answers to a lock.

    Args:
        panel: this one. catalog: what is registered now. execution: the run. lock: of it.

    Raises:
        ApiError: 502, the run has no app, or one that isn't registered: nothing else is ever asked.
    """
    base = execution.meta.get("app_url")
    if not base or not isinstance(base, str):
        raise ApiError(502, "This run was started by an app without a panel, and the answer has to go to that app.")
    try:
        address = source_address(base.rstrip("/") + OPENAPI).root
    except BadAddress as exc:
        raise ApiError(502, f"The app of this run has no address that can be asked: {exc}.") from None
    if not is_allowed(panel.settings, address) or not catalog.knows(address):
        raise ApiError(
            502,
            f"The app of this run, {address.base}, is not registered. "
            "When an operator has registered it under /admin/routes, the lock can be answered.",
        )
    return Destination(address, f"/{LOCK_ROUTE}/{lock.fid}/{lock.lid}")


def elements_of(answer: Answer) -> list[dict[str, Any]]:
    """The form that an app gave for a lock.

    Raises:
        ApiError: it gave none.
    """
    if answer.status != 200 or not isinstance(answer.value, list):
        raise failed(answer)
    return [element for element in answer.value if isinstance(element, dict)]


def released(status: int, lock: StoredLock, more: str = "") -> ApiError:
    """The published answer for a lock that is no longer open."""
    return ApiError(status, f"Lock {lock.lid} for {lock.fid} released. {more}".rstrip())


def failed(answer: Answer) -> ApiError:
    """What an app said instead of an answer; its own 404 and 5xx are passed on."""
    if answer.status in (404, 409, 503) and answer.said:
        return ApiError(answer.status, answer.said)
    # Its 401 must not end the user's session, its redirects lead nowhere.
    status = answer.status if answer.status >= 400 and answer.status != 401 else 502
    return ApiError(status, answer.problem)


def _state(user: User, execution: Execution, lock: StoredLock, names: Mapping[str, str], roles: Assigned) -> LockState:
    release = lock.release
    return LockState(
        lid=lock.lid,
        name=lock.name,
        state=(release.why or "answered") if release else "open",
        opened=lock.opened_at,
        expires=lock.expires,
        assignee=None if lock.assignee is None else [_shown(text, roles) for text in lock.assignee],
        four_eyes=lock.four_eyes,
        may_answer=release is None and not refused(user, execution, lock, roles),
        by=release.by if release else None,
        by_name=names.get(release.by, release.by) if release and release.by else None,
        at=release.at if release else None,
    )


def _shown(text: str, roles: Assigned) -> str:
    role = roles.get(text)
    return role.name if role is not None else text
