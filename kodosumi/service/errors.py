"""Errors towards clients: one shape, one table from kodosumi's own errors to HTTP.

Every error is ``{"error", "path", "detail", "status_code"}``. What nobody foresaw becomes a 500 that carries an id;
the stack trace is in the log under that id and nowhere else.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import error
from ..const import TOKEN_KEY
from .negotiation import allowed_methods, prefers_html

logger = logging.getLogger(__name__)

"""Published name of the session cookie."""

STATUS_OF: Mapping[type[error.KodosumiError], int] = {
    error.ExecutionNotFound: 404,
    error.StoreUnavailable: 503,
    error.StoreError: 409,
    error.TransportUnavailable: 503,
    error.ExecutionClosed: 409,
    error.TransportError: 503,
    error.LaunchUnavailable: 503,
    error.LaunchError: 400,
    error.BadPath: 400,
    error.FileMissing: 404,
    error.FileError: 503,
    error.LockNotFound: 404,
    error.LockReleased: 409,
    error.LockError: 400,
    error.MalformedEvent: 400,
    error.PayloadTooLarge: 413,
    error.ClusterError: 503,
    error.WebhookError: 502,
    error.ConfigurationError: 500,
}
"""HTTP status of each error that may reach a route; the nearest base of an error's class counts."""


class ApiError(Exception):
    """An answer that is not a success.

    Args:
        status_code: HTTP status, 400 to 599.
        detail: what went wrong and what to do about it, for the client's eyes.
        headers: further response headers.
    """

    def __init__(self, status_code: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.detail = detail
        self.headers = dict(headers or {})


class Unauthenticated(ApiError):
    """Nobody is logged in by this request.

    Args:
        detail: for the client's eyes.
        dead_cookie: the session cookie itself is what does not hold, so the browser should forget it.
    """

    def __init__(self, detail: str = "Log in first.", dead_cookie: bool = False) -> None:
        super().__init__(401, detail)
        self.dead_cookie = dead_cookie


def error_response(
    request: Request, status_code: int, detail: str, name: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The published error shape.

    Args:
        request: whose path is named.
        status_code: HTTP status.
        detail: for the client's eyes.
        name: class of the error; the status' own name by default.
        headers: further response headers.
    """
    body = {
        "error": name or HTTPStatus(status_code).phrase.title().replace(" ", "").replace("-", ""),
        "path": request.url.path,
        "detail": detail,
        "status_code": status_code,
    }
    return JSONResponse(body, status_code, headers=dict(headers or {}))


def install_error_handlers(app: FastAPI) -> None:
    """Gives every error of ``app`` the published shape."""
    handlers: dict[Any, Any] = {
        ApiError: _on_api_error,
        HTTPException: _on_http_exception,
        RequestValidationError: _on_invalid_request,
        error.KodosumiError: _on_kodosumi_error,
        DBAPIError: _on_database_error,
        PoolTimeout: _on_database_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def status_of(exc: error.KodosumiError) -> int:
    """HTTP status of an error of kodosumi; 500 for one that the table doesn't know."""
    return next((STATUS_OF[kind] for kind in type(exc).__mro__ if kind in STATUS_OF), 500)


async def _on_api_error(request: Request, exc: ApiError) -> Response:
    if isinstance(exc, Unauthenticated) and prefers_html(request):
        response = RedirectResponse("/", 302)
        if exc.dead_cookie:
            response.delete_cookie(TOKEN_KEY)
        return response
    return error_response(request, exc.status_code, exc.detail, headers=exc.headers)


async def _on_http_exception(request: Request, exc: HTTPException) -> Response:
    if exc.status_code == 405:
        allowed = ", ".join(allowed_methods(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        return error_response(request, 405, f"Use one of {allowed}.", headers={"Allow": allowed})
    return error_response(request, exc.status_code, str(exc.detail), headers=exc.headers)


async def _on_invalid_request(request: Request, exc: RequestValidationError) -> Response:
    # The input itself is not repeated: it may hold a password.
    problems = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in exc.errors()]
    return error_response(request, 400, "; ".join(problems), "ValidationError")


async def _on_kodosumi_error(request: Request, exc: error.KodosumiError) -> Response:
    status = status_of(exc)
    if status == 500:
        return unforeseen(request, exc)
    return error_response(request, status, str(exc) or type(exc).__name__, type(exc).__name__)


async def _on_database_error(request: Request, exc: Exception) -> Response:
    logger.error("admin database: %s", exc)
    return error_response(request, 503, "The admin database cannot be used now; try again.", "DatabaseUnavailable")


def unforeseen(request: Request, exc: BaseException) -> JSONResponse:
    """A 500 whose id leads to the stack trace in the log."""
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=exc)
    detail = f"Something went wrong in the panel. Its log has the reason under {incident}."
    return error_response(request, 500, detail, "InternalServerError")


class UnforeseenErrors:
    """Middleware that answers what no handler knew; once an answer has begun it can only be broken off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as exc:
            if begun:
                raise
            response = unforeseen(Request(scope), exc)
            MutableHeaders(raw=response.raw_headers)["Connection"] = "close"
            await response(scope, receive, send)
