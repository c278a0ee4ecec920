"""What the settings say of the webhook, checked before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import httpx

from ..config import Settings
from ..error import ConfigurationError
from ..store import ExecutionStore
from .address import refusal
from .courier import Courier
from .sender import Sender

URL, SECRET = "KODO_WEBHOOK_URL", "KODO_WEBHOOK_SECRET"


@dataclass(frozen=True, slots=True)
class Target:
    """Who is told, and the key that both sides know.

    Attributes:
        url: as set; may hold a password or a token, so it's never shown.
        secret: key of the signature.
    """

    url: httpx.URL = field(repr=False)
    secret: str = field(repr=False)


def target_of(settings: Settings) -> Target | None:
    """The webhook of these settings, None when there is none.

    Raises:
        ConfigurationError: it can't be used; says what to set.
    """
    if not settings.webhook_url:
        return None
    url = _checked(settings.webhook_url)
    if not settings.webhook_secret:
        raise ConfigurationError(
            f"{URL} is set and {SECRET} is not: set it to a long random text, as `openssl rand -hex 32` makes one, "
            "and give the receiver the same, so that it can tell whose messages it gets."
        )
    return Target(url, settings.webhook_secret)


def connect_sender(settings: Settings, store: ExecutionStore) -> Sender | None:
    """What sends a store's notices to the webhook of these settings; None when there is none.

    Raises:
        ConfigurationError: see :func:`target_of`.
    """
    target = target_of(settings)
    if target is None:
        return None
    return Sender(store, Courier(target.url, target.secret), settings.app_server)


def _checked(text: str) -> httpx.URL:
    # the address itself stays out of every text: it may be a secret
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError) as exc:
        raise ConfigurationError(f"{URL} cannot be read ({exc}): {_EXAMPLE}") from None
    host = url.raw_host.decode("ascii", "replace")
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(host) or (url.port or 1) > 65_535:
        raise ConfigurationError(f"{URL} is no http or https address: {_EXAMPLE}")
    try:
        reason = refusal(url.host)
    except ValueError:
        # a name: whatever it stands for is checked each time
        return url
    if reason is not None:
        raise ConfigurationError(f"{URL}: {url.host} is {reason}, and nothing is sent there: {_EXAMPLE}")
    return url


_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_EXAMPLE = "set it to one like https://hooks.example.com/kodosumi, or leave it unset."
