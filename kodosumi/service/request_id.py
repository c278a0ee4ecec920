"""A name for each request: in the log of every process that has to do with it, in its answer, and towards apps.

A proxy in front of the panel may have given it one (``X-Request-ID``), which is kept. It proves nothing.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..log import REQUEST_ID_HEADER, about, set_fid, usable_request_id


class RequestId:
    """Middleware that names each request: whatever is logged inside bears the name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = usable_request_id(Headers(scope=scope).get(REQUEST_ID_HEADER))

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        with about(request_id=request_id):
            await self._app(scope, receive, named)


async def name_run(connection: HTTPConnection) -> None:
    """Has log lines name the run that a route's path names. Async, as else FastAPI would do it in a thread."""
    fid = connection.path_params.get("fid")
    if fid:
        set_fid(fid)
