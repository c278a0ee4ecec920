"""Who is asking: the dependencies that every route but the public ones has.

The header ``KODOSUMI_API_KEY`` (also with hyphens, for proxies that drop underscores) wins over the cookie. A token
holds while its session is in the admin database, looked up by primary key on every request: logging out, disabling a
role or changing its password ends it at once, in every panel process. State-changing calls by cookie must also come
from the panel's own pages, see ``security.py``.

The routes of files take one thing more (:data:`CurrentFilesUser`): the key of a run, which is good for that run's files
while it lives. To every other route such a key is nobody.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader

from ..const import KODOSUMI_API_KEY, TOKEN_KEY, hyphened
from ..error import ExecutionNotFound
from ..events import is_fid
from ..identity import RunGrant
from ..store import Execution
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


GRANT_AFTER_END_S = 60.0
"""Seconds after its end in which a run's key still opens its files: what it wrote last may be on its way."""

GRANT_BEFORE_START_S = 600.0
"""Seconds after a key's making in which an id that isn't stored yet counts as a run that is being launched."""


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


@dataclass(frozen=True, slots=True)
class FilesUser:
    """Who asks for files: somebody who is logged in, or a run with its own key.

    Attributes:
        user_id: role id; of a run's key, whose request brought it about.
        operator: may reach everyone's files; never true for a run.
        grant: the run's key, None for somebody who is logged in.
    """

    user_id: str
    operator: bool
    grant: RunGrant | None = None

    def may(self, fid: str, execution: Execution | None) -> bool:
        """Whether the files of an execution are this user's business.

        Args:
            fid: the execution. execution: as stored, None while it isn't.
        """
        if self.grant is not None:
            return self.grant.fid == fid and _lives(self.grant, execution)
        if execution is None or execution.archived:
            return False
        return self.operator or execution.username == self.user_id


async def files_user(
    request: Request, panel: PanelContext, _key: _KeyInDocument = None, _cookie: _CookieInDocument = None
) -> FilesUser:
    """Who asks for files.

    Raises:
        Unauthenticated: nobody, or the key of a run that is over.
        ApiError: 403, a state-changing call by cookie that another site's page made.
    """
    key, cookie = api_key_of(request), request.cookies.get(TOKEN_KEY)
    grant = panel.identity.granted(key or cookie or "")
    if grant is None:
        user = await current_user(request, panel)
        return FilesUser(user.id, user.operator)
    if not is_fid(grant.fid) or not _lives(grant, await _stored(panel, grant.fid)):
        raise Unauthenticated(f"The run {grant.fid} is over, and with it the key to its files.")
    if key is None:
        require_own_page(request, panel.settings)
    return FilesUser(grant.username, False, grant)


CurrentFilesUser = Annotated[FilesUser, Depends(files_user)]
"""Parameter type of the routes of files."""


def _lives(grant: RunGrant, execution: Execution | None) -> bool:
    if execution is None:
        # Its files come before its first event. A key that came with an answer belongs to a run that was there.
        # A launch that is asked for again has an id from the first time.
        return grant.launches and abs(time.time() - grant.issued_at) < GRANT_BEFORE_START_S
    if execution.archived:
        return False
    return not execution.state.terminal or time.time() - (execution.finished_at or 0.0) < GRANT_AFTER_END_S


async def _stored(panel: Panel, fid: str) -> Execution | None:
    try:
        return await panel.store.execution(fid)
    except ExecutionNotFound:
        return None
