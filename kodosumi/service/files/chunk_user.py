"""Who sends a chunk: looked up once a second, not two hundred times.

Every other route asks the admin database for the session of every request, so that logging out holds at once. Chunks
come by the hundred a second, and a chunk only adds to an upload of its sender's own; here, and nowhere else, what was
found is believed for :data:`BELIEVED_S`.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader

from ...const import KODOSUMI_API_KEY, TOKEN_KEY
from ..auth import FilesUser, api_key_of, files_user
from ..context import PanelContext
from ..security import require_own_page

BELIEVED_S = 1.0
_MOST = 1_000

# For the OpenAPI document only; the request itself is read below.
_documented = [
    Security(APIKeyHeader(name=KODOSUMI_API_KEY, auto_error=False)),
    Security(APIKeyCookie(name=TOKEN_KEY, auto_error=False)),
]


class KnownSenders:
    """Who was found for a token, and until when that is believed."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[FilesUser, float]] = {}

    def of(self, token: str) -> FilesUser | None:
        """Who it stands for, None when that is to be asked (again)."""
        user, until = self._found.get(token, (None, 0.0))
        return user if time.monotonic() < until else None

    def remember(self, token: str, user: FilesUser) -> None:
        """Believes this for a while."""
        if len(self._found) >= _MOST:
            self._found.clear()
        self._found[token] = (user, time.monotonic() + BELIEVED_S)


async def chunk_user(
    request: Request,
    panel: PanelContext,
    _key: Annotated[str | None, _documented[0]] = None,
    _cookie: Annotated[str | None, _documented[1]] = None,
) -> FilesUser:
    """As :func:`~kodosumi.service.auth.files_user`."""
    key = api_key_of(request)
    token = key or request.cookies.get(TOKEN_KEY, "")
    senders: KnownSenders = request.app.state.chunk_senders
    user = senders.of(token)
    if user is None:
        user = await files_user(request, panel)
        senders.remember(token, user)
    elif key is None:
        require_own_page(request, panel.settings)
    return user


ChunkUser = Annotated[FilesUser, Depends(chunk_user)]
"""Parameter type of the route of chunks."""
