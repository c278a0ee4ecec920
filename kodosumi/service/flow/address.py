"""Addresses of apps, and their places under the panel: ``/-/{host}/{port}{prefix}/-/{path}``.

The port names the scheme where it has to: ``80`` and ``8000`` are http, ``443`` is https, ``https:8443`` and
``http:443`` say it themselves. So every app has one place, and no two share one. IPv6 hosts stand without brackets:
``/-/::1/8000/-/``. Pure text work; whether an app is registered is not known here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

ROUTES = "/-/routes"
"""End of the address at which Ray Serve lists its applications by prefix."""

OPENAPI = "/openapi.json"
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 2000

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")
_PORT = re.compile(r"(?:(?P<scheme>https?):)?(?P<port>[0-9]{1,5})")
_SAFE = "/:@!$&'()*+,;=~-._"


class BadAddress(ValueError):
    """An address that cannot be an app's; the text says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an app is.

    Attributes:
        scheme: ``http`` or ``https``.
        host: lower case; IPv6 without brackets.
        port: TCP port, always given.
        prefix: path below which the app lives, percent-encoded, empty or ``/…`` without a slash at its end.
    """

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def netloc(self) -> str:
        """Host and port as an HTTP ``Host`` header has them: without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def base(self) -> str:
        """The app's base address, without a slash at its end; what apps get as ``x-kodosumi_base``."""
        return self.origin + self.prefix

    @property
    def place(self) -> str:
        """The app's place under the panel, without a slash at its end."""
        implied = DEFAULT_PORTS["https"] if self.scheme == "https" else None
        plain = self.port == implied or (self.scheme == "http" and self.port != DEFAULT_PORTS["https"])
        return f"/-/{self.host}/{self.port if plain else f'{self.scheme}:{self.port}'}{self.prefix}/-"


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """A registered address: an app's OpenAPI document, or Ray Serve's list of applications.

    Attributes:
        url: in its one canonical form.
        root: the app, or the server whose applications are listed.
        lists_apps: whether it is a list.
    """

    url: str
    root: Address
    lists_apps: bool


def source_address(text: str) -> SourceAddress:
    """Reads what an operator registers; ``http://host:port`` alone stands for its ``/openapi.json``.

    Raises:
        BadAddress: no address of a source; says what to give.
    """
    scheme, host, port, path = _split_url(text)
    lists_apps = path.endswith(ROUTES)
    path = path if path not in ("", "/") else OPENAPI
    prefix = path.removesuffix(ROUTES) if lists_apps else path.rpartition("/")[0]
    root = Address(scheme, host, port, clean_prefix(prefix))
    tail = ROUTES if lists_apps else "/" + _requoted(path.rpartition("/")[2])
    return SourceAddress(root.base + tail, root, lists_apps)


def clean_prefix(prefix: str) -> str:
    """A path prefix in its one canonical form.

    Raises:
        BadAddress: not a plain path.
    """
    text = unquote(prefix)
    if not text.isprintable() or any(char in text for char in "\\?#"):
        raise BadAddress("the path has characters that no path has")
    parts = text.strip("/").split("/") if text.strip("/") else []
    if any(part in ("", ".", "..", "-") for part in parts):
        raise BadAddress("the path has an empty segment, or one of `.`, `..`, `-`")
    return "".join("/" + _requoted(part) for part in parts)


def split_place(raw_path: str) -> tuple[Address, str]:
    """The app that a path under the panel names, and the path below the app's base as the caller wrote it.

    Args:
        raw_path: ``/-/{host}/{port}{prefix}/-/{path}``, still percent-encoded.

    Raises:
        BadAddress: no such path, or one that would leave the app's base.
    """
    parts = raw_path.split("/")
    if len(parts) < 5 or parts[:2] != ["", "-"] or "-" not in parts[4:]:
        raise BadAddress("not /-/HOST/PORT/-/PATH")
    end = parts.index("-", 4)
    match = _PORT.fullmatch(unquote(parts[3]))
    if match is None:
        raise BadAddress("the port is not a number")
    port = int(match["port"])
    scheme = match["scheme"] or ("https" if port == DEFAULT_PORTS["https"] else "http")
    address = Address(scheme, _clean_host(unquote(parts[2])), port, clean_prefix("/".join(parts[4:end])))
    rest = "/" + "/".join(parts[end + 1 :])
    if leaves_base(rest):
        raise BadAddress("the path must not contain `.` or `..` segments")
    return address, rest


def leaves_base(path: str) -> bool:
    """Whether a server might read a path as one above its start: dot segments, encoded (twice) or not."""
    decoded = unquote(unquote(path)).replace("\\", "/")
    return any(part in (".", "..") for part in decoded.split("/"))


def flow_place(address: Address, path: str) -> str:
    """The place of one operation of an app; templates like ``{item}`` stay readable."""
    return address.place + "/" + quote(path.lstrip("/"), safe=_SAFE + "{}%")


def relocated(address: Address, asked: str, location: str) -> str | None:
    """Where a redirect of an app leads, seen from the panel.

    Args:
        address: of the app.
        asked: full address that was asked.
        location: value of the app's ``Location`` header.

    Returns:
        A place under the panel when it stays within the app, the absolute address otherwise; None when unusable.
    """
    try:
        target = urlsplit(urljoin(asked, location))
        port = target.port or DEFAULT_PORTS.get(target.scheme, 0)
    except ValueError:
        return None
    if target.scheme not in DEFAULT_PORTS or not target.hostname:
        return None
    same = (target.scheme, target.hostname, port) == (address.scheme, address.host, address.port)
    path = target.path or "/"
    if not same or not f"{path}/".startswith(f"{address.prefix}/") or leaves_base(path):
        return target.geturl()
    below = path.removeprefix(address.prefix) or "/"
    query = f"?{target.query}" if target.query else ""
    return address.place + below + query + (f"#{target.fragment}" if target.fragment else "")


def _split_url(text: str) -> tuple[str, str, int, str]:
    text = text.strip()
    if len(text) > MAX_LENGTH or not text.isprintable() or "\\" in text:
        raise BadAddress("an address is printable text of at most 2000 characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise BadAddress(str(exc)) from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise BadAddress("give http://HOST:PORT/openapi.json or http://HOST:PORT/-/routes")
    if parts.username is not None or parts.password is not None:
        raise BadAddress("an address carries no user name or password")
    if parts.query or parts.fragment:
        raise BadAddress("an address of a source has no query and no fragment")
    if port == 0:
        raise BadAddress("port 0 is no port")
    return parts.scheme, _clean_host(parts.hostname), port or DEFAULT_PORTS[parts.scheme], parts.path


def _clean_host(host: str) -> str:
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host).compressed
        except ValueError:
            raise BadAddress("not an IPv6 address") from None
    try:
        ascii_host = host.lower() if host.isascii() else host.encode("idna").decode().lower()
    except UnicodeError:
        raise BadAddress("not a host name") from None
    if not _HOST.fullmatch(ascii_host):
        raise BadAddress("not a host name")
    return ascii_host


def _requoted(part: str) -> str:
    return quote(unquote(part), safe=_SAFE.replace("/", ""))
