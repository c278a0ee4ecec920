"""Failures of an app's own routes: a 500 that names the exception, its traceback in the log alone."""

from __future__ import annotations

import logging

from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import refused

logger = logging.getLogger(__name__)


async def name_exception(request: Request, exc: Exception) -> JSONResponse:
    """The answer of a route that failed: ``{"detail": repr(exc)}``."""
    return refused(500, repr(exc))


class LogFailures:
    """Logs what a route raised and was answered for; the server would show it a second time, or to the client.

    Args:
        app: the whole of an app, its own exception handlers included.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent: list[Message] = []

        async def noting(message: Message) -> None:
            await send(message)
            sent[:] = [{**message, "body": b""}]

        try:
            await self.app(scope, receive, noting)
        except Exception as exc:
            if sent and (sent[0]["type"] == "http.response.start" or sent[0].get("more_body")):
                raise  # half an answer must look like half an answer: the server cuts the connection
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if not sent:
                await refused(500, repr(exc))(scope, receive, send)
