"""Logging in, three ways (``GET`` and ``POST /login``, ``POST /api/login``), the login page, and logging out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.formparsers import MultiPartException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

from ..config import Settings, is_loopback
from ..const import KODOSUMI_API_KEY, TOKEN_KEY
from ..events import parsed_json
from .accounts import authenticated, begin_session, end_session
from .auth import CurrentUser, api_key_of, user_of_token
from .context import Panel, PanelContext
from .database import Role
from .errors import ApiError
from .jwt import LIFETIME_S
from .negotiation import prefers_html
from .security import from_own_page

router = APIRouter(tags=["Access"], max_body_size=65_536)

HOME = "/admin/flow"
LOGGED_OUT = "/"

_CREDENTIALS = {
    "type": "object",
    "required": ["name", "password"],
    "properties": {"name": {"type": "string"}, "password": {"type": "string"}, "redirect": {"type": "string"}},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _CREDENTIALS},
            "application/x-www-form-urlencoded": {"schema": _CREDENTIALS},
        },
    }
}
_Redirect = Annotated[str | None, Query(description="Local path to go to afterwards.")]


@router.get("/", include_in_schema=False)
async def home(request: Request, panel: PanelContext) -> Response:
    """The login page; whoever is logged in already goes on to the flows."""
    cookie = request.cookies.get(TOKEN_KEY)
    if cookie and await user_of_token(panel, cookie):
        return RedirectResponse(HOME, 302)
    if not prefers_html(request):
        raise ApiError(401, "Log in first.")
    return _login_page(request, panel)


@router.get("/login", deprecated=True)
async def login_by_query(
    request: Request, panel: PanelContext, name: str = "", password: str = "", redirect: _Redirect = None
) -> Response:
    """Logs in by query. A password in an address ends up in logs and histories: use ``POST /login``."""
    allowed = panel.settings.get_login
    if not (panel.settings.bound_to_loopback if allowed is None else allowed):
        raise ApiError(403, "GET /login is off on this panel. Use POST /login, or set KODO_GET_LOGIN=true.")
    return await _login(request, panel, {"name": name, "password": password, "redirect": redirect})


@router.post("/login", openapi_extra=_BODY)
async def login_by_form(request: Request, panel: PanelContext) -> Response:
    """Logs in by a form (or JSON); with ``redirect``, goes there afterwards."""
    return await _login(request, panel, await _credentials(request))


@router.post("/api/login", openapi_extra=_BODY)
async def login_by_api(request: Request, panel: PanelContext) -> Response:
    """Logs in by JSON, whatever its content type says."""
    return await _login(request, panel, await _credentials(request))


@router.get("/logout")
async def logout_by_link(
    request: Request, user: CurrentUser, panel: PanelContext, redirect: _Redirect = None
) -> Response:
    """Ends this session."""
    if not from_own_page(request, panel.settings):
        raise ApiError(403, "Only the panel's own pages may log out.")
    return await _logout(request, panel, redirect)


@router.post("/logout")
async def logout(request: Request, user: CurrentUser, panel: PanelContext, redirect: _Redirect = None) -> Response:
    """Ends this session."""
    return await _logout(request, panel, redirect)


@router.get("/admin/logout", include_in_schema=False)
async def logout_page(request: Request, user: CurrentUser, panel: PanelContext) -> Response:
    """Ends this session and shows the login page."""
    return await logout_by_link(request, user, panel, LOGGED_OUT)


@router.get("/admin", include_in_schema=False)
async def admin(user: CurrentUser) -> Response:
    """The first page."""
    return RedirectResponse(HOME, 302)


def set_session_cookie(response: Response, panel: Panel, token: str) -> None:
    """Gives the browser a session token, in the cookie that only the panel's own requests carry."""
    response.set_cookie(
        TOKEN_KEY, token, max_age=LIFETIME_S, path="/", httponly=True, samesite="lax", secure=_is_tls(panel)
    )


def local_path(target: str | None) -> str | None:
    """``target`` if it is a path of this panel, else None: no login sends anyone to another site."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return None
    return target if target.isprintable() and "\\" not in target else None


def _is_tls(panel: Panel) -> bool:
    return panel.settings.ssl_certfile is not None or panel.settings.app_server.startswith("https://")


def _login_page(request: Request, panel: Panel, status_code: int = 200, **context: str) -> HTMLResponse:
    return panel.templates.TemplateResponse(
        request, "login.html", {"redirect": HOME} | context, status_code=status_code
    )


async def _login(request: Request, panel: Panel, given: dict[str, Any]) -> Response:
    if not from_own_page(request, panel.settings):
        raise ApiError(403, "This login came from another site's page.")
    _refuse_rebinding(request, panel, given)
    redirect = local_path(given.get("redirect")) or (LOGGED_OUT if given.get("redirect") else None)
    try:
        role = await _checked(request, panel, str(given.get("name") or ""), str(given.get("password") or ""))
    except ApiError as exc:
        if redirect is None or not prefers_html(request):
            raise
        name = str(given.get("name") or "")
        page = _login_page(request, panel, exc.status_code, problem=exc.detail, name=name, redirect=redirect)
        page.headers.update(exc.headers)
        return page
    token = await begin_session(panel, role.id)
    body = {"name": role.name, "id": role.id, KODOSUMI_API_KEY: token}
    response: Response = RedirectResponse(redirect, 302) if redirect else JSONResponse(body)
    response.headers["Cache-Control"] = "no-store"
    set_session_cookie(response, panel, token)
    return response


def _refuse_rebinding(request: Request, panel: Panel, given: dict[str, Any]) -> None:
    # A site that lets its own name point to 127.0.0.1 is "the same origin" to a browser. It knows no password but the
    # default one, which therefore only counts under this machine's own names.
    default = Settings.model_fields["admin_password"].default
    if panel.settings.bound_to_loopback and given.get("password") == default and not is_loopback(request.url.hostname):
        raise ApiError(403, "The default password only works at http://localhost. Change it under /admin/routes.")


async def _checked(request: Request, panel: Panel, name: str, password: str) -> Role:
    address = request.client.host if request.client else ""
    panel.login_guard.begin(address, name)
    role = await authenticated(panel, name, password)
    if role is None:
        raise ApiError(401, "Invalid name or password")
    panel.login_guard.succeeded(address, name)
    return role


async def _logout(request: Request, panel: Panel, redirect: str | None) -> Response:
    token = api_key_of(request) or request.cookies.get(TOKEN_KEY)
    if token:
        await end_session(panel, token)
    target = local_path(redirect) or (LOGGED_OUT if redirect else None)
    response = RedirectResponse(target, 302) if target else Response()
    response.delete_cookie(TOKEN_KEY, path="/")
    return response


async def _credentials(request: Request) -> dict[str, Any]:
    try:
        given = parsed_json(await request.body())
    except (ValueError, RecursionError):
        try:
            given = dict(await request.form())
        except (MultiPartException, ValueError):
            given = None
    if not isinstance(given, dict) or "name" not in given or "password" not in given:
        raise ApiError(400, "Send name and password, as JSON or as a form.")
    return {key: value if isinstance(value, str) else "" for key, value in given.items()}
