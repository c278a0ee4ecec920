"""The middleware that counts requests. Outermost, so that it sees what really went out, and when."""

from __future__ import annotations

import time

from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .meters import Meters

BEGAN = "kodosumi.began"
"""Key in the scope of a request: when it arrived, of ``time.perf_counter``."""

UNKNOWN_ROUTE = "unknown"
"""Stands for every path that no route has: what clients make up must not become a label."""

STATIC_ROUTE = "/static/{path:path}"


class MeteredRequests:
    """Counts each request when its answer was sent, or broken off.

    Args:
        app: what answers. meters: where to count.
    """

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"]
        began = scope[BEGAN] = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            self._meters.answered(method, route_of(scope), status, time.perf_counter() - began)


def route_of(scope: Scope) -> str:
    """The template of the route that a request took, never the path itself.

    Args:
        scope: of the request, after it was answered.
    """
    if isinstance(scope.get("endpoint"), StaticFiles):
        return STATIC_ROUTE
    return getattr(scope.get("route"), "path", None) or UNKNOWN_ROUTE
