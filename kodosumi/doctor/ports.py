"""Ports of the panel and of Ray Serve: free, or ours already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime

import httpx

from ..config import Settings
from ..start.ports import owner_of, port_taken
from .clocks import compared
from .report import Finding, fine, warning, wrong

TIMEOUT_S = 5.0
UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where everyone may come in, we do by loopback
DATE_PRECISION_S = 1.0
"""A `Date` header has whole seconds, and a server makes it once a second."""


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Whether panel and apps can listen where they are told to, or do so already."""
    panel = await _asked(f"{_address(settings)}/health/live")
    if panel is not None and _is_panel(panel[0]):
        yield fine("panel", f"{settings.app_server}: a panel answers")
        for finding in _clock(*panel):
            yield finding
    else:
        yield await asyncio.to_thread(_panel_port, settings)
    yield await _serve_port(settings)


def _panel_port(settings: Settings) -> Finding:
    host, port = settings.app_host, settings.app_port
    if port_taken(host, port):
        owner = owner_of(port) or "another process"
        return wrong("panel", f"port {port} is taken by {owner}", "End it, or choose another port by KODO_APP_SERVER.")
    return fine("panel", f"port {port} is free")


async def _serve_port(settings: Settings) -> Finding:
    port = settings.serve_port
    if not await asyncio.to_thread(port_taken, "127.0.0.1", port):
        return fine("apps", f"port {port} is free")
    answer = await _asked(f"http://127.0.0.1:{port}/-/routes")
    if answer is not None and answer[0].is_success:
        return fine("apps", f"port {port}: Ray Serve answers")
    owner = await asyncio.to_thread(owner_of, port) or "another process"
    remedy = "For `koco start --app`, end it or choose another port by KODO_SERVE_PORT."
    return warning("apps", f"port {port} is taken by {owner}", remedy)


def _is_panel(response: httpx.Response) -> bool:
    try:
        return response.is_success and response.json() == {"status": "ok"}
    except ValueError:
        return False


def _clock(response: httpx.Response, before_s: float, after_s: float) -> Iterator[Finding]:
    try:
        theirs_s = parsedate_to_datetime(response.headers["date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return  # whatever stands before the panel took it away
    yield compared(theirs_s, before_s, after_s, DATE_PRECISION_S)


async def _asked(url: str) -> tuple[httpx.Response, float, float] | None:
    """What answers there, with our clock before and after; None: nothing that speaks HTTP."""
    try:
        async with httpx.AsyncClient(verify=False, timeout=TIMEOUT_S, trust_env=False) as client:  # noqa: S501 - ourselves
            before_s = time.time()
            response = await client.get(url)
            return response, before_s, time.time()
    except (httpx.HTTPError, httpx.InvalidURL):
        return None


def _address(settings: Settings) -> str:
    host = UNSPECIFIED.get(settings.app_host, settings.app_host)
    secure = "https" if settings.ssl_certfile else "http"
    return f"{secure}://{f'[{host}]' if ':' in host else host}:{settings.app_port}"
