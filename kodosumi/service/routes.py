"""``/admin/routes``: where flows come from, for operators, and one's own e-mail and password, for everybody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .errors import ApiError
from .flow.address import BadAddress, source_address
from .flow.api import MAX_SOURCES, Register
from .flow.register import FlowRegister, RegisterError
from .role import change_oneself

PAGE = "/admin/routes"
NOTICES = {
    "routes": "The sources are saved.",
    "email": "Your e-mail is changed.",
    "password": "Your password is changed.",
}

router = APIRouter(include_in_schema=False, max_body_size=1_048_576)


@router.get(PAGE)
async def routes_page(
    request: Request, user: CurrentUser, panel: PanelContext, register: Register, saved: str = ""
) -> Response:
    """The page; ``saved`` names what was changed just now."""
    return await _page(request, panel, user, register, notice=NOTICES.get(saved, ""))


@router.post(PAGE)
async def save(request: Request, user: CurrentUser, panel: PanelContext, register: Register) -> Response:
    """Saves the form's ``routes`` (operators: one source a line, the whole list), ``email``, or a new password."""
    try:
        form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    except (HTTPException, ValueError):
        raise ApiError(400, "Send a form with routes, with email, or with new_password1 and new_password2.") from None
    response = RedirectResponse(PAGE, 303)
    try:
        saved = await _saved(request, response, panel, user, register, form)
    except ApiError as exc:
        return await _page(request, panel, user, register, problem=exc.detail, form=form, status=exc.status_code)
    response.headers["location"] = f"{PAGE}?saved={saved}"
    return response


async def _saved(
    request: Request, response: Response, panel: Panel, user: User, register: FlowRegister, form: dict[str, str]
) -> str:
    if "routes" in form:
        if not user.operator:
            raise ApiError(403, "Only an operator may change the sources.")
        await _save_routes(register, form["routes"].splitlines())
        return "routes"
    first, second = form.get("new_password1", ""), form.get("new_password2", "")
    changes: dict[str, str] = {}
    if first or second:
        if first != second:
            raise ApiError(400, "The two passwords differ. Type the same one twice.")
        changes["password"] = first
    if (email := form.get("email", "").strip()) and email != user.email:
        changes["email"] = email
    if changes:
        await change_oneself(request, response, panel, user, **changes)
    elif not email:
        raise ApiError(400, "Nothing to change: send routes, email, or new_password1 and new_password2.")
    return "password" if "password" in changes else "email"


async def _save_routes(register: FlowRegister, lines: list[str]) -> None:
    wanted = [line.strip() for line in lines if line.strip()]
    if len(wanted) > MAX_SOURCES:
        raise ApiError(400, f"At most {MAX_SOURCES} sources can be saved at once.")
    known = {source.url for source in await register.sources()}
    addresses = {url: _canonical(url) for url in wanted}
    problems = []
    for url, address in addresses.items():
        if address in known:
            continue
        # One by one: a source that is down must not keep the others from being saved.
        try:
            await register.register([url])
        except RegisterError as exc:
            problems.append(str(exc))
    gone = known - set(addresses.values())
    if gone:
        await register.unregister(sorted(gone))
    if problems:
        raise ApiError(400, " ".join(problems))


def _canonical(url: str) -> str:
    try:
        return source_address(url).url
    except BadAddress:
        return url


async def _page(
    request: Request,
    panel: Panel,
    user: User,
    register: FlowRegister,
    *,
    notice: str = "",
    problem: str = "",
    form: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    form = form or {}
    sources = await register.sources() if user.operator else []
    context: dict[str, Any] = {
        "sources": sources,
        "lines": form.get("routes", "\n".join(source.url for source in sources)),
        "email": form.get("email", user.email),
        "notice": notice,
        "problem": problem,
        "place": _place_of_problem(form) if problem else "",
        "time": _time,
    }
    response = panel.templates.TemplateResponse(request, "routes.html", context, status_code=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _place_of_problem(form: dict[str, str]) -> str:
    if "routes" in form:
        return "routes"
    return "password" if form.get("new_password1") or form.get("new_password2") else "email"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
