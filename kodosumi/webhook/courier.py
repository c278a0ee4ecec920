"""Takes one message to its receiver: signed, to an address that was checked, in bounded time.

The name is looked up, every address of it judged, and the connection made to a judged one: a name that means something
else a moment later leads nowhere else. TLS still proves the name. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import httpx

from .. import __version__
from ..error import WebhookError
from .address import refusal

TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 4.0
"""For one address, so that a name with several gets to the next."""

EVENT_HEADER = "x-kodosumi-event"
DELIVERY_HEADER = "x-kodosumi-delivery"
TIMESTAMP_HEADER = "x-kodosumi-timestamp"
SIGNATURE_HEADER = "x-kodosumi-signature"

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What :data:`SIGNATURE_HEADER` holds: HMAC-SHA256 (RFC 2104) over ``timestamp.body``, in hex.

    Args:
        secret: the key. timestamp: value of :data:`TIMESTAMP_HEADER`. body: the request's bytes.
    """
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Courier:
    """Posts messages to one address. Used by one event loop.

    Args:
        url: the receiver. secret: key of the signature.
        resolve: gives the addresses of a host; the system's by default.
        timeout_s: longest time of one try, all included.
    """

    def __init__(
        self, url: httpx.URL, secret: str, *, resolve: Resolve | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        # Threads of its own: a name server that hangs must not hold up what others do in threads.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="kodosumi-webhook")
        self._resolve = resolve or self._looked_up
        self._client: httpx.AsyncClient | None = None

    @property
    def host(self) -> str:
        """The receiver's host, for the log."""
        return self._url.host

    async def deliver(self, id: str, event: str, body: bytes) -> None:
        """Returns when the receiver has said that it has the message.

        Args:
            id: of the message, the same in every try. event: what it is about. body: JSON.

        Raises:
            WebhookError: the receiver didn't take it.
        """
        timestamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "user-agent": f"kodosumi/{__version__}",
            EVENT_HEADER: event,
            DELIVERY_HEADER: id,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._posted(headers, body)
        except TimeoutError:
            raise WebhookError(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            raise WebhookError(str(exc) or type(exc).__name__) from exc
        if not 200 <= status < 300:
            raise WebhookError(f"it answers {status}", gone=status == httpx.codes.GONE)

    async def close(self) -> None:
        """Closes the connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _posted(self, headers: dict[str, str], body: bytes) -> int:
        if self._client is None:
            transport = CheckedTransport(self._resolve)
            timeout = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S)
            # trust_env: no proxy of the environment, which would connect to addresses that nobody judged
            self._client = httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)
        # The answer's body is left unread: the receiver decides how long it is.
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            return response.status_code

    async def _looked_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to judged addresses only, under the name that was asked for.

    Args:
        resolve: gives the addresses of a host.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        # no connection is kept: the next request judges anew
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Tries one address after the other until one is connected to."""
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        failure: Exception | None = None
        for address in _judged(host, await self._resolve(host, port)):
            try:
                return await self._inner.handle_async_request(_towards(request, host, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
                failure = exc
        raise failure or WebhookError(f"{host} has no address")

    async def aclose(self) -> None:
        """Closes what is open."""
        await self._inner.aclose()


def _judged(host: str, addresses: list[str]) -> list[str]:
    """Those of a host's addresses that may be connected to.

    Raises:
        WebhookError: none may be.
    """
    reasons = {address: refusal(address) for address in addresses}
    allowed = [address for address, reason in reasons.items() if reason is None]
    if reasons and not allowed:
        address, reason = next(iter(reasons.items()))
        raise WebhookError(f"{host} leads to {address}, which is {reason}: nothing is sent there")
    return allowed


def _towards(request: httpx.Request, host: str, address: str) -> httpx.Request:
    """The same request to one address; its Host header and TLS name stay what they were."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
