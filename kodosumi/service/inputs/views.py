"""``/inputs/-/{path}``: a flow's form as a page, and its way to the app as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from ..auth import CurrentUser, User
from ..context import Panel, PanelContext
from ..errors import ApiError
from ..flow.api import Register
from ..flow.document import Endpoint
from ..flow.register import FlowRegister
from ..forwarding import Destination, destination
from ..negotiation import prefers_html
from .answer import Answer, ask
from .form_page import MAX_FORM_BYTES, Shown, fields, form_page, messages

MOUNT = "/inputs"

router = APIRouter(include_in_schema=False, max_body_size=MAX_FORM_BYTES)


@router.get(MOUNT + "/-/{path:path}")
async def show_form(
    path: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """The form of a flow."""
    flow = None
    try:
        to = await destination(request, panel, register, MOUNT)
        flow = await _flow(register, to)
        answer = await ask(panel, user, to, request, "GET")
    except ApiError as exc:
        return _failure(request, panel, exc, flow)
    if answer.place is not None:
        return RedirectResponse(MOUNT + answer.place, 307)
    return form_page(request, panel, await _described(register, to, answer))


@router.post(MOUNT + "/-/{path:path}")
async def submit_form(
    path: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """Sends the form's fields to the flow: on to the new run's page, or back to the form with what is wrong."""
    try:
        to = await destination(request, panel, register, MOUNT)
        values = await fields(request)
    except ApiError as exc:
        return _failure(request, panel, exc)
    try:
        answer = await ask(panel, user, to, request, "POST", values)
    except ApiError as exc:
        return await _form_again(request, panel, user, to, register, values, exc.status_code, exc.detail)
    if answer.launched is not None:
        return RedirectResponse(f"/admin/status/view/{answer.launched}", 302)
    if answer.place is not None:
        return RedirectResponse(MOUNT + answer.place, 307)
    if answer.errors is not None:
        shown = await _described(register, to, answer)
        shown.values, shown.errors = values, messages(answer.errors)
        return form_page(request, panel, shown)
    if answer.status >= 400:
        return await _form_again(request, panel, user, to, register, values, answer.status, answer.problem)
    return form_page(request, panel, await _described(register, to, answer))


async def _form_again(
    request: Request,
    panel: Panel,
    user: User,
    to: Destination,
    register: FlowRegister,
    values: dict[str, Any],
    status: int,
    problem: str,
) -> Response:
    # What was entered must not be lost because the app failed: ask for its form once more.
    shown = Shown(to.path)
    try:
        answer = await ask(panel, user, to, request, "GET")
        shown = await _described(register, to, answer)
    except ApiError:
        shown.flow = await _flow(register, to)
        shown.title = shown.flow.summary if shown.flow else to.path
    shown.values, shown.problem, shown.status = values, problem, status
    shown.text = "" if shown.elements is not None else shown.text
    return form_page(request, panel, shown)


async def _described(register: FlowRegister, to: Destination, answer: Answer) -> Shown:
    flow = await _flow(register, to)
    summary = answer.data.get("summary")
    title = flow.summary if flow else summary if isinstance(summary, str) and summary else to.path
    shown = Shown(title, flow)
    elements = answer.data.get("elements")
    if 200 <= answer.status < 300 and isinstance(elements, list):
        shown.elements = elements
        return shown
    shown.status = answer.status if answer.status >= 400 else 200
    if answer.status >= 300:
        shown.problem = answer.problem
    else:
        shown.text = answer.readable
    return shown


async def _flow(register: FlowRegister, to: Destination) -> Endpoint | None:
    return (await register.catalog()).find(to.address.place + to.path)


def _failure(request: Request, panel: Panel, exc: ApiError, flow: Endpoint | None = None) -> Response:
    if not prefers_html(request):
        raise exc
    title = flow.summary if flow else "Flow"
    return form_page(request, panel, Shown(title, flow, problem=exc.detail, status=exc.status_code))
