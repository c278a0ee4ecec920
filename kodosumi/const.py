"""Names on the wire, as published. Proxies drop header names with underscores, so each has a hyphened twin."""

from __future__ import annotations

KODOSUMI_USER = "x-kodosumi_user"
"""Towards apps: role id of the user; proves nothing by itself (see ``identity.py``)."""

KODOSUMI_BASE = "x-kodosumi_base"
"""Towards apps: the app's own address, as the panel knows it."""

KODOSUMI_URL = "x-kodosumi-url"
"""Towards apps: the panel's address."""

KODOSUMI_LAUNCH = "kodosumi_launch"
"""From apps: id of the execution that was launched."""

KODOSUMI_API_KEY = "KODOSUMI_API_KEY"
"""From clients: session token; wins over the cookie."""

TOKEN_KEY = "kodosumi_jwt"
"""Cookie with the session token."""

KODOSUMI_FLOW = "x-kodosumi"
"""OpenAPI extension that marks a flow."""


def hyphened(name: str) -> str:
    """The twin of a header name that every proxy passes on."""
    return name.replace("_", "-")
