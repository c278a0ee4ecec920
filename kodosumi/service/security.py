"""What protects a browser: response headers, and the proof that a state-changing call comes from the panel's own pages.

The proof (cross-site request forgery). A browser sends our cookie with requests that other sites' pages make; a
script outside a browser sends only what its user gave it. Every current browser marks a state-changing request with
``Sec-Fetch-Site`` or, at least, ``Origin``. So: whatever carries one of these (or ``Referer``) must name the panel
itself; what carries none is no browser (``curl``) and needs no proof. The cookie's ``SameSite=Lax`` stands before it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..config import Settings
from .errors import ApiError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""No inline script, no inline style, nothing from elsewhere."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every response; a route that sets one itself keeps its own."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


def require_own_page(request: Request, settings: Settings) -> None:
    """Lets pass what reads only, what no browser sent, and what the panel's own pages (or allowed origins) sent.

    Raises:
        ApiError: 403 for the rest.
    """
    if request.method not in SAFE_METHODS and not from_own_page(request, settings):
        raise ApiError(403, "This call came from another site's page. Send it from the panel, or with an API key.")


def from_own_page(request: Request, settings: Settings) -> bool:
    """Whether a request comes from the panel's own pages, an allowed origin, or no browser at all."""
    headers = request.headers
    origin = headers.get("origin")
    if origin is not None and origin in settings.cors_origins:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    source = origin if origin is not None else headers.get("referer")
    return source is None or _authority(source) == _authority(f"{request.url.scheme}://{headers.get('host', '')}")


def _authority(address: str) -> tuple[str, int | None] | None:
    # The scheme only fills in a missing port: behind a proxy that ends TLS the panel itself is asked by http.
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    default = port in (None, *_DEFAULT_PORTS.values())
    return (parts.hostname, None if default else port) if parts.hostname else None


class SecurityHeaders:
    """Middleware that gives every response :data:`HEADERS`, streams included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)
