"""``/-/{host}/{port}{prefix}/-/{path}``: a registered app, for whoever is logged in. Streams bodies both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .auth import CurrentUser
from .context import PanelContext
from .errors import ApiError
from .flow.api import Register
from .forwarding import destination, passed_to_app, passed_to_caller
from .idempotency import send_once

router = APIRouter(tags=["Proxy"])

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

_EXECUTABLE = frozenset({"script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "style"})
_WITHOUT_BODY = (204, 304)


async def proxy(path: str, request: Request, user: CurrentUser, panel: PanelContext, register: Register) -> Response:
    """Sends the request on to a registered app and its answer back, both as they come.

    404 when no app is registered there, 502 when it cannot be reached, 504 when it doesn't answer in time. What may
    launch a run does so once per `Idempotency-Key`: 409 while the same is on its way, 422 for another request.
    """
    if request.headers.get("sec-fetch-dest") in _EXECUTABLE:
        # To the panel's own pages this address is "self": what an app says must never run in them.
        raise ApiError(403, "What an app answers cannot be used as a script or a style of a page.")
    to = await destination(request, panel, register)
    content = request.stream() if _has_body(request) else None
    response = await send_once(panel, user, to, request, request.method, passed_to_app(request), content)
    return _streamed(response, request.method, passed_to_caller(response, to))


class Forwarded(StreamingResponse):
    """An app's answer on its way to the caller; the connection to the app ends with it, however it ends."""

    def __init__(self, response: httpx.Response, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, response.status_code)
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._response.aclose()


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length")
    return "transfer-encoding" in request.headers or length not in (None, "0")


def _streamed(response: httpx.Response, method: str, headers: list[tuple[str, str]]) -> Response:
    empty = method == "HEAD" or response.status_code in _WITHOUT_BODY
    answer = Forwarded(response, _nothing() if empty else response.aiter_raw())
    if response.status_code in _WITHOUT_BODY:
        headers = [(name, value) for name, value in headers if name != "content-length"]
    answer.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return answer


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _publish(method: str) -> None:
    extra: dict[str, Any] = {}
    if method in ("POST", "PUT", "PATCH"):
        extra = {"requestBody": {"content": {"*/*": {}}}}
    router.add_api_route(
        "/-/{path:path}",
        proxy,
        methods=[method],
        operation_id=f"proxy_{method.lower()}",
        name="proxy",
        summary=f"{method} of a registered app",
        openapi_extra=extra,
        # HEAD and OPTIONS are what HTTP says they are; two operations more would tell nobody anything.
        include_in_schema=method not in ("HEAD", "OPTIONS"),
        response_class=Response,
    )


for _method in METHODS:
    _publish(_method)
