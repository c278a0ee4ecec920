"""Who is asking: the dependencies that every route but the public ones has.

The header ``KODOSUMI_API_KEY`` (also with hyphens, for proxies that drop underscores) wins over the cookie. A token
holds while its session is in the admin database, looked up by primary key on every request: logging out, disabling a
role or changing its password ends it at once, in every panel process. State-changing calls by cookie must also come
from the panel's own pages, see ``security.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader

from ..const import KODOSUMI_API_KEY, TOKEN_KEY, hyphened
from .accounts import session_role
from .context import Panel, PanelContext
from .errors import ApiError, Unauthenticated
from .security import require_own_page

API_KEY_HEADERS = (KODOSUMI_API_KEY, hyphened(KODOSUMI_API_KEY))

# For the OpenAPI document only; the request itself is read below.
_documented = [
    Security(APIKeyHeader(name=API_KEY_HEADERS[0], auto_error=False)),
    Security(APIKeyCookie(name=TOKEN_KEY, auto_error=False)),
]
_KeyInDocument = Annotated[str | None, _documented[0]]
_CookieInDocument = Annotated[str | None, _documented[1]]


@dataclass(frozen=True, slots=True)
class User:
    """Who is logged in.

    Attributes:
        id: role id (uuid), the owner's name in stores and towards apps.
        name: login name. email: address.
        operator: sees and steers everyone's executions, registers flows, manages roles.
        active: always true for who is logged in.
    """

    id: str
    name: str
    email: str
    operator: bool
    active: bool


def api_key_of(request: Request) -> str | None:
    """The API key of a request, or None."""
    return next((request.headers[name] for name in API_KEY_HEADERS if request.headers.get(name)), None)


async def user_of_token(panel: Panel, token: str) -> User | None:
    """Who a session token stands for, or None when it doesn't hold (any more)."""
    claims = panel.tokens.claims(token)
    role = await session_role(panel.database, claims) if claims else None
    return User(role.id, role.name, role.email, role.operator, role.active) if role else None


async def current_user(
    request: Request, panel: PanelContext, _key: _KeyInDocument = None, _cookie: _CookieInDocument = None
) -> User:
    """The user of this request.

    Raises:
        Unauthenticated: nobody (401; a redirect to the login page where HTML is preferred).
        ApiError: 403, a state-changing call by cookie that another site's page made.
    """
    key, cookie = api_key_of(request), request.cookies.get(TOKEN_KEY)
    token = key or cookie
    user = await user_of_token(panel, token) if token else None
    if user is None:
        raise Unauthenticated(dead_cookie=key is None and cookie is not None)
    if key is None:
        require_own_page(request, panel.settings)
    request.state.user = user
    return user


CurrentUser = Annotated[User, Depends(current_user)]
"""Parameter type of routes for whoever is logged in."""


async def operator(user: CurrentUser) -> User:
    """The user of this request, who is an operator.

    Raises:
        ApiError: 403 for others.
    """
    if not user.operator:
        raise ApiError(403, "Only an operator may do this.")
    return user


Operator = Annotated[User, Depends(operator)]
"""Parameter type of routes for operators."""
