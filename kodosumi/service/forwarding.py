"""Sends a request of a user on to a registered app: what leaves the panel, what comes back, and what never does.

Towards the app go the caller's method, path, query, body and headers, without the cookie, the API key, whatever
proxies say about the caller, and whatever starts with ``x-kodosumi``. Added are who the user is (a signed token, see
``identity.py``; the bare user id is for old apps and proves nothing), the app's base address and the panel's, and, with
whatever may launch a run or answer its lock, that run's id and key to its files. The request's id goes along.

Back come status, body (as encoded by the app) and headers, without those that would act on the panel itself: its
cookies, its storage, its sharing with other sites. Since the answer stands under the panel's own origin, it is
sandboxed (:data:`SANDBOX`): a page of an app is shown, but it is nobody's page, runs no script and holds no session.
An app that needs scripts serves that page at its own address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import httpx
from starlette.requests import ClientDisconnect, Request

from ..config import Settings
from ..const import KODOSUMI_BASE, KODOSUMI_URL, KODOSUMI_USER, hyphened
from ..error import FileError
from ..events import new_fid
from ..files.local import LocalFileStore
from ..identity import GRANT_HEADER, TOKEN_HEADER
from ..log import REQUEST_ID_HEADER, current_request_id, set_fid
from .auth import User
from .context import FilesPlace, Panel
from .errors import ApiError
from .flow.address import Address, BadAddress, relocated, split_place
from .flow.fetch import is_allowed
from .flow.register import FlowRegister

logger = logging.getLogger(__name__)

HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers between two neighbours, which no proxy passes on (RFC 9110, section 7.6.1)."""

SANDBOX = "; ".join(
    (
        "sandbox allow-popups allow-downloads",
        "default-src 'none'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "style-src 'self' 'unsafe-inline'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""Content-Security-Policy of everything that an app answers: an origin of its own, no script, no form."""

LOCK_ROUTE = "_lock_"
"""Begins the path of an app's own routes for locks. Only this panel asks there, for who may answer."""

LAUNCHING_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Methods of requests that may launch a run."""

_KEPT_FROM_APPS = HOP_BY_HOP | {
    "host",
    "cookie",
    "idempotency-key",
    "kodosumi-api-key",
    "forwarded",
    "x-real-ip",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "sec-fetch-user",
    "referer",
    REQUEST_ID_HEADER,
}
_KEPT_FROM_BROWSERS = HOP_BY_HOP | {
    "date",
    "server",
    "set-cookie",
    "clear-site-data",
    "strict-transport-security",
    "content-security-policy",
    "content-security-policy-report-only",
    "cross-origin-opener-policy",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "service-worker-allowed",
    "www-authenticate",
    "alt-svc",
    "nel",
    "report-to",
    "reporting-endpoints",
    "refresh",
    "link",
    "location",
}


class NotSent(ApiError):
    """The app got nothing of the request."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes.

    Attributes:
        address: of the app.
        path: below the app's base, percent-encoded as the caller wrote it, beginning with a slash.
        query: as the caller wrote it, without the question mark.
    """

    address: Address
    path: str
    query: str = ""

    @property
    def app_path(self) -> str:
        """Path on the app's server, percent-encoded."""
        return self.address.prefix + self.path

    @property
    def url(self) -> str:
        """The full address."""
        return self.address.origin + self.target

    @property
    def target(self) -> str:
        """What stands in the request's first line."""
        return f"{self.app_path}?{self.query}" if self.query else self.app_path


async def destination(request: Request, panel: Panel, register: FlowRegister, mount: str = "") -> Destination:
    """Where a request under ``{mount}/-/`` leads.

    Raises:
        ApiError: 404, no registered app; 400, a path that would leave it; 403, one of its routes for locks.
    """
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    raw_path = raw.decode("latin-1").partition("?")[0].removeprefix(mount)
    try:
        address, path = split_place(raw_path)
    except BadAddress as exc:
        raise ApiError(400, f"This is not the address of a flow: {exc}.") from None
    known = is_allowed(panel.settings, address) and (await register.catalog()).knows(address)
    if not known:
        raise ApiError(404, f"No app is registered at {address.base}. An operator can register it under /admin/routes.")
    if _is_for_locks(path):
        # The app trusts the panel to have checked who may answer; a server in between may read a path in its own way.
        raise ApiError(403, "Locks are answered at /lock/{fid}/{lid}, or on the page of their run.")
    return Destination(address, path, request.url.query)


async def send_on(
    panel: Panel,
    user: User,
    to: Destination,
    request: Request,
    method: str,
    headers: Iterable[tuple[str, str]],
    content: AsyncIterator[bytes] | bytes | None,
    lock_of: str | None = None,
    fid: str | None = None,
) -> httpx.Response:
    """Sends a request on; the answer's body is still to be read, and the answer to be closed.

    Args:
        panel: this one. user: who asks. to: where it goes.
        request: the caller's, for the panel's own address.
        method: of the request to send. headers: likewise, passed on as they are. content: likewise.
        lock_of: fid of the run whose lock this is about, and for which the app gets its key; otherwise whatever may
            launch a run carries the id and the key of a new one.
        fid: id of that new run, when it isn't just any; see ``idempotency``.

    Raises:
        NotSent: as below, before anything was sent.
        ApiError: 502 the app cannot be reached, 504 it is too slow, 503 too many requests are on their way,
            400 the caller broke off.
    """
    fields = [*headers, *identifying(panel, user, to, request, method)]
    if request_id := current_request_id():
        fields.append((REQUEST_ID_HEADER, request_id))
    if lock_of is not None or method in LAUNCHING_METHODS:
        fields.append((GRANT_HEADER, await _grant(panel, user, lock_of, fid)))
    # The target as written, whatever httpx makes of it, and no request of the client's making: that would carry
    # cookies which an app gave to somebody else.
    timeout = httpx.Timeout(panel.settings.proxy_timeout).as_dict()
    outgoing = httpx.Request(
        method,
        to.address.origin + "/",
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
        content=content,
        extensions={"timeout": timeout, "target": to.target.encode("latin-1")},
    )
    try:
        return await panel.http.send(outgoing, stream=True, follow_redirects=False)
    except httpx.PoolTimeout:
        raise NotSent(503, "Too many requests are on their way to apps; try again.", {"Retry-After": "1"}) from None
    except httpx.TimeoutException as exc:
        limit = f"{panel.settings.proxy_timeout:g} s (KODO_PROXY_TIMEOUT)"
        kind = NotSent if isinstance(exc, httpx.ConnectTimeout) else ApiError
        raise kind(504, f"The app at {to.address.base} did not answer within {limit}.") from None
    except ClientDisconnect:
        raise ApiError(400, "The request was broken off.") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        logger.info("%s %s: %r", method, to.address.base, exc)
        kind = NotSent if isinstance(exc, httpx.ConnectError | httpx.InvalidURL | UnicodeError) else ApiError
        raise kind(502, f"The app at {to.address.base} cannot be reached: {exc or type(exc).__name__}.") from None


def identifying(panel: Panel, user: User, to: Destination, request: Request, method: str) -> list[tuple[str, str]]:
    """The headers that tell an app who asks, for whom it answers and where the panel is; also with hyphens."""
    base = to.address.base
    token = panel.identity.token(user.id, audience=base, method=method, path=unquote(to.app_path))
    return [
        (KODOSUMI_USER, user.id),
        (hyphened(KODOSUMI_USER), user.id),
        (KODOSUMI_BASE, base),
        (hyphened(KODOSUMI_BASE), base),
        (KODOSUMI_URL, panel_url(panel.settings, request)),
        (TOKEN_HEADER, token),
    ]


async def _grant(panel: Panel, user: User, lock_of: str | None, fid: str | None) -> str:
    place = await _files_place(panel)
    of = lock_of or fid or new_fid()
    set_fid(of)
    inner = (panel.settings.internal_url or "").rstrip("/")
    return panel.identity.grant(
        user.id, of, launches=lock_of is None, root=place.root, mark=place.mark, panel_url=inner
    )


async def _files_place(panel: Panel) -> FilesPlace:
    if panel.files_place is None:
        if not isinstance(panel.files, LocalFileStore):
            panel.files_place = FilesPlace()
            return panel.files_place
        try:
            mark = await asyncio.to_thread(panel.files.mark)
        except FileError as exc:
            # The run then asks the panel for its files, which says what is wrong.
            logger.warning("runs are not told where files lie: %s", exc)
            return FilesPlace()
        panel.files_place = FilesPlace(str(panel.files.local("")), mark)
    return panel.files_place


def panel_url(settings: Settings, request: Request) -> str:
    """The panel's base address: as configured, or, where it listens on every interface, as it was asked."""
    if _unspecified(settings.app_host):
        return str(request.base_url).rstrip("/")
    return settings.app_server.rstrip("/")


def passed_to_app(request: Request) -> list[tuple[str, str]]:
    """The caller's headers that an app may see."""
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    named = _named_by_connection(value for name, value in fields if name == "connection")
    passed = [(name, value) for name, value in fields if _may_pass(name, _KEPT_FROM_APPS | named)]
    if not any(name == "accept-encoding" for name, _ in passed):
        # Otherwise the client would ask for an encoding that the caller cannot read.
        passed.append(("accept-encoding", "identity"))
    return passed


def passed_to_caller(response: httpx.Response, to: Destination) -> list[tuple[str, str]]:
    """The app's headers that the caller may see, with the panel's own protection."""
    named = _named_by_connection(response.headers.get_list("connection"))
    fields = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
    dropped = _KEPT_FROM_BROWSERS | named
    passed = [(name, value) for name, value in fields if _returns(name, dropped)]
    location = response.headers.get("location")
    if location is not None and (place := relocated(to.address, to.url, location)) is not None:
        passed.append(("location", place))
    if "cache-control" not in response.headers:
        # The answer may be for this user's eyes only, at an address that the next user of the browser has as well.
        passed.append(("cache-control", "no-store"))
    passed.append(("content-security-policy", SANDBOX))
    # A sandboxed page with an opener policy is an error to a browser.
    passed.append(("cross-origin-opener-policy", "unsafe-none"))
    return passed


async def bounded_content(response: httpx.Response, limit_bytes: int, timeout_s: float) -> bytes:
    """The answer's body, decoded; the answer is closed.

    Raises:
        ApiError: 502, larger than the limit or broken off; 504, too slow.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > limit_bytes:
                    raise ApiError(502, f"The app answered with more than {limit_bytes} bytes.")
    except (TimeoutError, httpx.TimeoutException):
        raise ApiError(504, "The app did not finish its answer in time.") from None
    except httpx.HTTPError as exc:
        raise ApiError(502, f"The app broke its answer off: {exc or type(exc).__name__}.") from None
    finally:
        await response.aclose()
    return bytes(content)


def _may_pass(name: str, dropped: frozenset[str]) -> bool:
    # Some servers read `_` and `-` as one: neither spelling of a header that speaks for the panel may pass.
    plain = name.replace("_", "-")
    return plain not in dropped and not plain.startswith(("x-kodosumi", "x-forwarded-"))


def _is_for_locks(path: str) -> bool:
    decoded = unquote(unquote(path)).replace("\\", "/")
    return any(part.partition(";")[0].strip() == LOCK_ROUTE for part in decoded.split("/"))


def _returns(name: str, dropped: frozenset[str]) -> bool:
    return name not in dropped and not name.startswith("access-control-")


def _named_by_connection(values: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for value in values for name in value.split(",") if name.strip())


def _unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
