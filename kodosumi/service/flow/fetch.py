"""Reads JSON from a source: http(s) only, allowed hosts only, bounded in size, time and redirects, without cookies."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urljoin

import httpx

from ...config import Settings
from ...events import parsed_json
from .address import Address, BadAddress, source_address

MAX_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 10.0
MAX_REDIRECTS = 3


class SourceError(Exception):
    """A source that cannot be read now; the text says why.

    Attributes:
        answered: the app is there and answered, but has no such document.
    """

    def __init__(self, text: str, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered


def is_allowed(settings: Settings, address: Address) -> bool:
    """Whether ``KODO_REGISTER_ALLOW`` lets the panel talk to an app; unset, what an operator registered is allowed."""
    allowed = settings.register_allow
    if allowed is None:
        return True
    names = {name.lower().removeprefix("[").removesuffix("]") for name in allowed}
    return address.host in names or f"{address.netloc}" in names or f"{address.host}:{address.port}" in names


async def fetch_json(client: httpx.AsyncClient, url: str, settings: Settings) -> Any:
    """The JSON document at ``url``.

    Raises:
        SourceError: not allowed, not reachable, no JSON, too large, too slow, or redirected elsewhere.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            content = await _read(client, url, settings)
    except TimeoutError:
        raise SourceError(f"{url} did not answer within {TIMEOUT_S:g} s.") from None
    except httpx.InvalidURL as exc:
        raise SourceError(f"{url} cannot be asked: {exc}.") from None
    except httpx.HTTPError as exc:
        raise SourceError(f"{url} cannot be reached: {exc or type(exc).__name__}.") from exc
    try:
        return await asyncio.to_thread(parsed_json, content)
    except (ValueError, RecursionError):
        raise SourceError(f"{url} did not answer with JSON.", answered=True) from None


async def _read(client: httpx.AsyncClient, url: str, settings: Settings) -> bytes:
    origin = _checked(url, settings).origin
    for _ in range(MAX_REDIRECTS + 1):
        # Not `client.build_request`: nothing that the client keeps belongs into this request.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        request = httpx.Request("GET", url, headers=headers, extensions={"timeout": httpx.Timeout(TIMEOUT_S).as_dict()})
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if not response.is_redirect:
                return await _content(response, url)
            target = urljoin(url, response.headers.get("location", ""))
        finally:
            await response.aclose()
        if _checked(target, settings).origin != origin:
            raise SourceError(f"{url} redirects to another host, which is not followed.", answered=True)
        url = target
    raise SourceError(f"{url} redirects too often.", answered=True)


async def _content(response: httpx.Response, url: str) -> bytes:
    if response.status_code != 200:
        raise SourceError(f"{url} answered {response.status_code}.", answered=response.status_code < 500)
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise SourceError(f"{url} is larger than {MAX_BYTES} bytes.", answered=True)
    return bytes(content)


def _checked(url: str, settings: Settings) -> Address:
    try:
        root = source_address(url.partition("?")[0]).root
    except BadAddress as exc:
        raise SourceError(f"{url} cannot be asked: {exc}.", answered=True) from None
    if not is_allowed(settings, root):
        raise SourceError(f"{root.host} is not among KODO_REGISTER_ALLOW.")
    return root
