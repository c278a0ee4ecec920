"""``/inputs/lock/{fid}/{lid}``: the form of a lock as a page, for who may answer it, and what became of it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from ..store import Execution
from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .errors import ApiError
from .executions import may_see
from .flow.api import Register
from .flow.register import FlowRegister
from .inputs.answer import ask
from .inputs.form_page import MAX_FORM_BYTES, Shown, fields, form_page, messages
from .lock import destination_of, elements_of, failed, released
from .lock_access import NotYours, StoredLock, after_release, answerable, fate_of, shown_time
from .negotiation import prefers_html
from .timeline_item import iso_time

PAGE = "/inputs/lock/{fid}/{lid}"

router = APIRouter(include_in_schema=False, max_body_size=MAX_FORM_BYTES)


@router.get(PAGE)
async def show_lock_form(
    fid: str, lid: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """The form of a lock; of a released one, who answered it and when."""
    try:
        execution, lock = await answerable(panel, user, fid, lid)
    except ApiError as exc:
        return _failure(request, panel, user, exc)
    if lock.release is not None:
        return await _released(request, panel, user, execution, lock, 200)
    shown = Shown(lock.name)
    try:
        shown.elements = await _form(request, panel, user, register, execution, lock)
    except ApiError as exc:
        gone = await after_release(panel, execution, lock, exc.status_code)
        if gone is not None or exc.detail == released(404, lock).detail:
            return await _released(request, panel, user, execution, gone or lock, 200)
        shown.problem, shown.status = exc.detail, exc.status_code
    return _page(request, panel, user, execution, lock, shown)


@router.post(PAGE)
async def submit_lock_form(
    fid: str, lid: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """Gives a lock its answer: on to the run's page, or back to the form with what is wrong."""
    try:
        execution, lock = await answerable(panel, user, fid, lid)
        values = await fields(request)
    except ApiError as exc:
        return _failure(request, panel, user, exc)
    if lock.release is not None:
        return await _released(request, panel, user, execution, lock, 409)
    shown = Shown(lock.name, values=values)
    try:
        to = destination_of(panel, await register.catalog(), execution, lock)
        answer = await ask(panel, user, to, request, "POST", values, lock_of=fid)
        if answer.errors is not None:
            shown.errors = messages(answer.errors)
            elements = answer.data.get("elements")
            shown.elements = elements if isinstance(elements, list) else []
            return _page(request, panel, user, execution, lock, shown)
        gone = await after_release(panel, execution, lock, answer.status)
        if gone is not None:
            return await _released(request, panel, user, execution, gone, 409)
        if answer.status != 200 or "result" not in answer.data:
            raise failed(answer)
    except ApiError as exc:
        # What was entered must not be lost because the app failed: ask for its form once more.
        shown.problem, shown.status = exc.detail, exc.status_code
        try:
            shown.elements = await _form(request, panel, user, register, execution, lock)
        except ApiError:
            shown.elements = None
        return _page(request, panel, user, execution, lock, shown)
    seen = may_see(user, execution)
    return RedirectResponse(f"/admin/status/view/{fid}" if seen else request.url.path, 302)


async def _form(
    request: Request, panel: Panel, user: User, register: FlowRegister, execution: Execution, lock: StoredLock
) -> list[Any]:
    to = destination_of(panel, await register.catalog(), execution, lock)
    return elements_of(await ask(panel, user, to, request, "GET", lock_of=execution.fid))


async def _released(
    request: Request, panel: Panel, user: User, execution: Execution, lock: StoredLock, status: int
) -> Response:
    """The page of a lock that is no longer open; who answered sees the answer."""
    release = lock.release
    own = release is not None and release.by == user.id
    fate = await fate_of(panel, lock)
    context = {
        "fate": fate,
        "own": own,
        "result": json.dumps(release.result, indent=2, ensure_ascii=False) if own and release else "",
        "at": shown_time(fate.at) if fate.at is not None else "",
        "at_iso": iso_time(fate.at),
    }
    return _page(request, panel, user, execution, lock, Shown(lock.name, status=status), **context)


def _page(
    request: Request,
    panel: Panel,
    user: User,
    execution: Execution,
    lock: StoredLock,
    shown: Shown,
    **context: Any,
) -> Response:
    context |= {
        "lock": lock,
        "expires": shown_time(lock.expires) if lock.expires else "",
        "expires_iso": iso_time(lock.expires),
        "run": _run_title(execution) if may_see(user, execution) else "",
    }
    return form_page(request, panel, shown, "lock.html", **context)


def _run_title(execution: Execution) -> str:
    return str(execution.meta.get("summary") or execution.meta.get("entry_point") or execution.fid)


def _failure(request: Request, panel: Panel, user: User, exc: ApiError) -> Response:
    if not prefers_html(request):
        raise exc
    if isinstance(exc, NotYours):
        shown = Shown(exc.lock.name, problem=exc.detail, status=exc.status_code)
        return _page(request, panel, user, exc.execution, exc.lock, shown)
    return form_page(request, panel, Shown("Lock", problem=exc.detail, status=exc.status_code))
