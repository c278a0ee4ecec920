"""Files on their way to a client: as attachments that no browser runs, with ranges, in pieces, in flat memory.

What users and models made lies under the panel's own origin. So it is never shown there: whatever it is, it is bytes to
be saved, and a browser that shows it nevertheless gives it an origin of its own, without scripts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ...files import FileInfo, FileStore
from .ranges import Span, Unsatisfiable, etag_of, is_known, last_modified, span_of

HARMLESS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    # A sandboxed page with an opener policy is an error to a browser.
    "Cross-Origin-Opener-Policy": "unsafe-none",
}
"""Headers of everything that users and models made."""

_ATTEMPTS = 5


class _Pieces(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Sent(StreamingResponse):
    """Pieces that come as the client takes them; what they hold is given up however it ends."""

    def __init__(self, pieces: _Pieces, status_code: int, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(pieces, status_code, headers, media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces):
            await super().__call__(scope, receive, send)


def attachment(name: str) -> str:
    """``Content-Disposition`` of a file to be saved under a name: RFC 6266, for old clients too."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in name)
    value = f'attachment; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"


async def file_response(request: Request, store: FileStore, key: str) -> Response:
    """A file, or the part of it that the request asks for.

    Raises:
        FileMissing: there is none.
    """
    for _ in range(_ATTEMPTS - 1):
        if (answer := await _attempt(request, store, key)) is not None:
            return answer
    answer = await _attempt(request, store, key)
    return answer or Response("The file changes too fast to be read.", 503, {"Retry-After": "1"})


async def _attempt(request: Request, store: FileStore, key: str) -> Response | None:
    """The answer, or None when the file was replaced between asking for it and opening it."""
    info = await store.info(key)
    headers = {"ETag": etag_of(info), "Last-Modified": last_modified(info), **HARMLESS}
    if is_known(request.headers, info):
        return Response(status_code=304, headers=headers)
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": attachment(info.path.rpartition("/")[2])}
    try:
        span = span_of(request.headers, info)
    except Unsatisfiable:
        return Response(status_code=416, headers=HARMLESS | {"Content-Range": f"bytes */{info.size}"})
    status = 200 if span is None else 206
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{info.size}"
    start, end = span or Span(0, info.size)
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    stream = await store.read(key, start, end)
    if _differ(stream.info, info):
        await stream.aclose()
        return None
    return Sent(stream, status, headers, "application/octet-stream")


def _differ(one: FileInfo, other: FileInfo) -> bool:
    return (one.etag, one.size) != (other.etag, other.size)
