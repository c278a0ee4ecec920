"""Session tokens: JWT (RFC 7519), HS256, claims ``exp``, ``iat``, ``sub`` (role id) and ``sid`` (session id)."""

from __future__ import annotations

import hashlib
import time
from typing import NamedTuple

import jwt

LIFETIME_S = 24 * 60 * 60
"""Seconds a token holds."""

_ALGORITHM = "HS256"
_LEEWAY_S = 10


class Claims(NamedTuple):
    """What a valid token says.

    Attributes:
        role_id: who.
        session_id: by which login.
    """

    role_id: str
    session_id: str


class SessionTokens:
    """Makes and reads session tokens.

    Args:
        secret_key: the panel's secret; panels with the same one accept each other's tokens.
    """

    def __init__(self, secret_key: str) -> None:
        # A key of its own: what signs sessions signs nothing else, and is long enough whatever the secret.
        self._key = hashlib.sha256(b"kodosumi session\0" + secret_key.encode()).hexdigest()

    def token(self, role_id: str, session_id: str, expires_at: float | None = None) -> str:
        """A token for one login.

        Args:
            role_id: who. session_id: by which login.
            expires_at: end of its life, seconds since the epoch; :data:`LIFETIME_S` from now by default.
        """
        now = int(time.time())
        expires = now + LIFETIME_S if expires_at is None else int(expires_at)
        claims = {"sub": role_id, "sid": session_id, "iat": now, "exp": expires}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def claims(self, token: str) -> Claims | None:
        """What a token says, or None when it is forged, expired or no token at all."""
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "sid"]},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        return Claims(str(payload["sub"]), str(payload["sid"]))
