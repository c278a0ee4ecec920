"""``/inputs/-/{path}``: a flow's form as a page, and its way to the app as JSON.

The page asks the app by the same forwarding that the proxy uses, inside this process. What the app answers is data:
the elements become a form through :class:`~kodosumi.forms.Model`, which escapes them; everything else is shown as text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.client import responses
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from ...const import KODOSUMI_LAUNCH
from ...events import is_fid, parsed_json
from ...forms import Model
from ..auth import CurrentUser, User
from ..context import Panel, PanelContext
from ..errors import ApiError
from ..flow.address import relocated
from ..flow.api import Register
from ..flow.document import Endpoint
from ..flow.register import FlowRegister
from ..forwarding import Destination, bounded_content, destination, send_on
from ..negotiation import prefers_html

MOUNT = "/inputs"
MAX_FORM_BYTES = 16 * 1024 * 1024
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_FIELDS = 2000
SHOWN_CHARACTERS = 20_000
GLOBAL_ERRORS = "_global_"

router = APIRouter(include_in_schema=False, max_body_size=MAX_FORM_BYTES)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an app said.

    Attributes:
        status: HTTP status.
        text: its body.
        data: the body as JSON object, empty when it is none.
        launched: fid of the run that it started, or None.
        place: where under the panel a redirect leads, or None.
    """

    status: int
    text: str
    data: dict[str, Any]
    launched: str | None
    place: str | None


@dataclass(slots=True)
class Shown:
    """What the page shows.

    Attributes:
        title: name of the flow. flow: what is registered about it, if anything.
        elements: of the form, None when there is none to show.
        values: what was entered. errors: by field.
        problem: what went wrong as a whole. text: what the app said that is no form.
        status: HTTP status of the page.
    """

    title: str
    flow: Endpoint | None = None
    elements: list[Any] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    problem: str = ""
    text: str = ""
    status: int = 200


@router.get(MOUNT + "/-/{path:path}")
async def show_form(
    path: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """The form of a flow."""
    flow = None
    try:
        to = await destination(request, panel, register, MOUNT)
        flow = await _flow(register, to)
        answer = await _ask(panel, user, to, request, "GET")
    except ApiError as exc:
        return _failure(request, panel, exc, flow)
    if answer.place is not None:
        return RedirectResponse(MOUNT + answer.place, 307)
    return _page(request, panel, await _described(register, to, answer))


@router.post(MOUNT + "/-/{path:path}")
async def submit_form(
    path: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register
) -> Response:
    """Sends the form's fields to the flow: on to the new run's page, or back to the form with what is wrong."""
    try:
        to = await destination(request, panel, register, MOUNT)
        values = await _fields(request)
    except ApiError as exc:
        return _failure(request, panel, exc)
    try:
        answer = await _ask(panel, user, to, request, "POST", values)
    except ApiError as exc:
        return await _form_again(request, panel, user, to, register, values, exc.status_code, exc.detail)
    if answer.launched is not None:
        return RedirectResponse(f"/admin/status/view/{answer.launched}", 302)
    if answer.place is not None:
        return RedirectResponse(MOUNT + answer.place, 307)
    if answer.status == 200 and isinstance(answer.data.get("errors"), dict):
        shown = await _described(register, to, answer)
        shown.values, shown.errors = values, _messages(answer.data["errors"])
        return _page(request, panel, shown)
    if answer.status >= 400:
        return await _form_again(request, panel, user, to, register, values, answer.status, _said(answer))
    return _page(request, panel, await _described(register, to, answer))


async def _ask(
    panel: Panel, user: User, to: Destination, request: Request, method: str, values: dict[str, Any] | None = None
) -> Answer:
    headers = [("accept", "application/json"), ("accept-encoding", "gzip, deflate")]
    content = None
    if values is not None:
        headers.append(("content-type", "application/json"))
        content = json.dumps(values).encode()
    response = await send_on(panel, user, to, request, method, headers, content)
    body = await bounded_content(response, MAX_ANSWER_BYTES, panel.settings.proxy_timeout)
    place = relocated(to.address, to.url, response.headers.get("location", "")) if response.is_redirect else None
    text = body.decode("utf-8", "replace")
    data = _json_object(text)
    launched = data.get("result") or response.headers.get(KODOSUMI_LAUNCH)
    started = response.is_success and isinstance(launched, str) and is_fid(launched)
    return Answer(
        status=response.status_code,
        text=text,
        data=data,
        launched=launched if started else None,
        place=place if place is not None and place.startswith("/-/") else None,
    )


async def _fields(request: Request) -> dict[str, Any]:
    try:
        async with request.form(max_fields=MAX_FIELDS, max_part_size=MAX_FORM_BYTES) as form:
            items = form.multi_items()
            if any(isinstance(value, UploadFile) and (value.filename or value.size) for _, value in items):
                raise ApiError(400, "Files cannot be sent with a form yet.")
    except HTTPException as exc:
        raise ApiError(exc.status_code, f"The form cannot be read: {exc.detail}") from None
    except ValueError as exc:
        raise ApiError(400, f"The form cannot be read: {exc}") from None
    values: dict[str, Any] = {}
    for name, value in items:
        if isinstance(value, str):
            # Browsers send CRLF, but count and check a text's lines as LF; so do those who write without a browser.
            text = value.replace("\r\n", "\n")
            known = values.get(name)
            values[name] = text if known is None else [*(known if isinstance(known, list) else [known]), text]
    return values


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
        answer = await _ask(panel, user, to, request, "GET")
        shown = await _described(register, to, answer)
    except ApiError:
        shown.flow = await _flow(register, to)
        shown.title = shown.flow.summary if shown.flow else to.path
    shown.values, shown.problem, shown.status = values, problem, status
    shown.text = "" if shown.elements is not None else shown.text
    return _page(request, panel, shown)


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
        shown.problem = _said(answer)
    else:
        shown.text = _readable(answer)
    return shown


async def _flow(register: FlowRegister, to: Destination) -> Endpoint | None:
    return (await register.catalog()).find(to.address.place + to.path)


def _page(request: Request, panel: Panel, shown: Shown) -> Response:
    form = None
    has_submit = False
    if shown.elements is not None:
        try:
            elements = [_without_secret(element) for element in shown.elements if isinstance(element, dict)]
            form = _rendered(elements, shown)
            has_submit = any(element.get("type") in ("submit", "action") for element in elements)
        except (TypeError, ValueError, LookupError, AttributeError) as exc:
            shown.problem = f"The form of this flow cannot be shown: {type(exc).__name__}. Tell its author."
            shown.status = 502
    context = {"shown": shown, "form": form, "has_submit": has_submit}
    response = panel.templates.TemplateResponse(request, "inputs.html", context, status_code=shown.status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _rendered(elements: list[dict[str, Any]], shown: Shown) -> str:
    model = Model.model_validate(elements, shown.errors)
    if shown.values:
        secrets = {element.get("name") for element in elements if element.get("type") == "password"}
        model.set_data({name: value for name, value in shown.values.items() if name not in secrets})
    return model.render()


def _without_secret(element: dict[str, Any]) -> dict[str, Any]:
    return {**element, "value": None} if element.get("type") == "password" else element


def _failure(request: Request, panel: Panel, exc: ApiError, flow: Endpoint | None = None) -> Response:
    if not prefers_html(request):
        raise exc
    title = flow.summary if flow else "Flow"
    return _page(request, panel, Shown(title, flow, problem=exc.detail, status=exc.status_code))


def _messages(errors: dict[str, Any]) -> dict[str, list[str]]:
    found = {}
    for name, messages in errors.items():
        texts = [messages] if isinstance(messages, str) else messages if isinstance(messages, list) else []
        found[name] = [text for text in texts if isinstance(text, str)]
    return found


def _said(answer: Answer) -> str:
    detail = answer.data.get("detail")
    said = detail if isinstance(detail, str) else _readable(answer)
    status = f"{answer.status} {responses.get(answer.status, '')}".strip()
    return f"The app answered {status}: {said}" if said else f"The app answered {status}."


def _readable(answer: Answer) -> str:
    text = json.dumps(answer.data, indent=2, ensure_ascii=False) if answer.data else answer.text
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …"


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = parsed_json(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
