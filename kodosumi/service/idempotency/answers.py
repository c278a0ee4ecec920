"""Answers that launched a run: which do, what is kept of them, and how they are given again."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator

import httpx

from ...const import KODOSUMI_LAUNCH, hyphened
from ...events import is_fid
from ..forwarding import HOP_BY_HOP
from .keys import Kept

MAX_KEPT_BYTES = 64 * 1024
"""Longest body of an answer that is kept, and longest headers; of a longer one, its execution's id is."""

_NOT_KEPT = HOP_BY_HOP | {"content-length", "date", "server", "set-cookie"}
_TELLS_NOTHING = frozenset({408, 500, 502, 504})

logger = logging.getLogger(__name__)


def launched_by(response: httpx.Response) -> str | None:
    """Id of the run that an answer says it launched, or None."""
    fid = response.headers.get(KODOSUMI_LAUNCH) or response.headers.get(hyphened(KODOSUMI_LAUNCH)) or ""
    return fid if response.status_code < 400 and is_fid(fid) else None


def launched_nothing(response: httpx.Response) -> bool:
    """Whether an answer without a launch is sure of it: a server in between, or an endpoint that failed late, isn't."""
    return response.status_code not in _TELLS_NOTHING


def only_id(fid: str) -> Kept:
    """What is kept of a launch when its answer isn't."""
    return Kept(200, [(KODOSUMI_LAUNCH, fid), (hyphened(KODOSUMI_LAUNCH), fid)], None)


async def taken(response: httpx.Response, fid: str) -> tuple[Kept, httpx.Response]:
    """What to keep of an answer that launched a run, and the answer, of which nothing was read."""
    raw = response.aiter_raw()
    begun = bytearray()
    try:
        async for chunk in raw:
            begun += chunk
            if len(begun) > MAX_KEPT_BYTES:
                return only_id(fid), _same(response, _Rest(bytes(begun), raw, response))
    except httpx.HTTPError as exc:
        # The run is there, and its id is what counts.
        logger.info("an answer that launched %s broke off: %r", fid, exc)
        await response.aclose()
        return only_id(fid), given_again(fid, only_id(fid))
    await response.aclose()
    headers = [(name.lower(), value) for name, value in _texts(response) if name.lower() not in _NOT_KEPT]
    if sum(len(name) + len(value) for name, value in headers) > MAX_KEPT_BYTES:
        return only_id(fid), _same(response, httpx.ByteStream(bytes(begun)))
    kept = Kept(response.status_code, headers, bytes(begun))
    return kept, _same(response, httpx.ByteStream(bytes(begun)))


def given_again(fid: str, kept: Kept) -> httpx.Response:
    """An answer as it was, or the execution's id when no more is kept of it."""
    headers, body = kept.headers, kept.body
    if body is None:
        body = json.dumps({"fid": fid}, separators=(",", ":")).encode()
        headers = [*headers, ("content-type", "application/json")]
    fields = [*headers, ("content-length", str(len(body)))]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return httpx.Response(kept.status, headers=raw, stream=httpx.ByteStream(body))


class _Rest(httpx.AsyncByteStream):
    """A body whose beginning was read already."""

    def __init__(self, begun: bytes, rest: AsyncIterator[bytes], response: httpx.Response) -> None:
        self._begun, self._rest, self._response = begun, rest, response

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield self._begun
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def _same(response: httpx.Response, stream: httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(response.status_code, headers=response.headers.raw, stream=stream)


def _texts(response: httpx.Response) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
