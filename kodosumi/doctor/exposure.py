"""Secrets, and who can reach the panel."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from ..config import Settings
from .report import Finding, fine, warning, wrong

SHORTEST_KEY, SHORTEST_PASSWORD = 32, 8
FEWEST_CHARACTERS = 8
"""Different ones in a key; `aaaa…` is as bad as a short one."""

NEW_KEY = "Set KODO_SECRET_KEY to what `openssl rand -hex 32` prints, the same for all panels."
NEW_PASSWORD = (
    "Set KODO_ADMIN_PASSWORD before the first start; afterwards change the operator's password under /admin/routes."
)


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """The key, the first password, and TLS where others can come in."""
    # What lets others in is wrong; on loopback it's a habit that will be.
    public = not settings.bound_to_loopback
    report = wrong if public else warning
    reason = _weak_key(settings.secret_key)
    if settings.secret_key is None:
        if public:
            yield wrong("secret key", "none is set, and others can reach the panel", NEW_KEY)
        else:
            yield fine("secret key", "kept in a file beside the admin database")
    elif reason:
        yield report("secret key", reason, NEW_KEY)
    else:
        yield fine("secret key", "set")
    if settings.admin_password == Settings.model_fields["admin_password"].default:
        yield report("admin password", "is the default that everybody knows", NEW_PASSWORD)
    elif len(settings.admin_password) < SHORTEST_PASSWORD:
        yield report("admin password", f"has less than {SHORTEST_PASSWORD} characters", NEW_PASSWORD)
    else:
        yield fine("admin password", "set")
    for finding in _reach(settings, public=public):
        yield finding


def _weak_key(key: str | None) -> str:
    if key is None:
        return ""
    if len(key) < SHORTEST_KEY:
        return f"has less than {SHORTEST_KEY} characters"
    return "repeats a few characters" if len(set(key)) < FEWEST_CHARACTERS else ""


def _reach(settings: Settings, *, public: bool) -> Iterator[Finding]:
    missing = [path for path in _tls_files(settings) if not os.access(path, os.R_OK)]
    for path in missing:
        yield wrong(
            "TLS", f"{path} cannot be read", "Correct KODO_SSL_CERTFILE, KODO_SSL_KEYFILE and KODO_SSL_CA_CERTS."
        )
    if not public:
        yield fine("reach", f"{settings.app_host}: this machine only")
    elif settings.ssl_certfile:
        yield fine("reach", f"{settings.app_host}: others too, by TLS")
    else:
        yield warning(
            "reach",
            f"{settings.app_host}: others too, without TLS",
            "Set KODO_SSL_CERTFILE and KODO_SSL_KEYFILE, or let only a proxy that speaks TLS reach the panel.",
        )


def _tls_files(settings: Settings) -> list[Path]:
    named = (settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_ca_certs)
    return [Path(name) for name in named if name]
