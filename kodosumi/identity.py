"""How a flow app learns from the panel who its user is: a short-lived signed token, bound to that app and that request.

The panel signs with an Ed25519 key derived from its secret; the public half is published on the Ray cluster
(``cluster.publish``), so an app needs no setting, and code on the cluster can verify but not forge. Format: JWT
(RFC 7519), EdDSA (RFC 8037).
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TOKEN_HEADER = "x-kodosumi-identity"
"""Request header that carries the token towards apps."""

TOKEN_LIFETIME_S = 60
PUBLISHED_PREFIX = "identity/"
"""Keys of published public keys on the cluster: this, then the key id."""

GRANT_HEADER = "x-kodosumi-run"
"""Request header that carries a :class:`RunGrant` towards apps; the same text is the run's key at the panel."""

GRANT_LIFETIME_S = 30 * 24 * 60 * 60
_GRANT_AUDIENCE = "kodosumi:run"

ANONYMOUS = "_annon_"
"""Published name of the user when nobody vouches for one."""


@dataclass(frozen=True, slots=True)
class RunGrant:
    """What the panel allows one run: its files, nothing else. Signed, so an app can trust it.

    Attributes:
        fid: id of the run; a launch made for this request takes it as its own.
        username: role id of who asked; whose uploads may be completed into the run.
        launches: whether it came with a request that may launch ``fid``, rather than with an answer to its lock.
        root: absolute folder under which the panel keeps files, "" when they are kept elsewhere.
        mark: what marks that folder as the panel's, see ``RunFiles``.
        token: the signed text.
        issued_at: when it was signed, seconds (UTC).
        panel_url: where the run reaches the panel, "" when that is where it was asked.
    """

    fid: str
    username: str
    launches: bool
    root: str
    mark: str
    token: str
    issued_at: float = field(default=0.0, compare=False)
    panel_url: str = ""


class IdentitySigner:
    """The panel's side.

    Args:
        secret_key: the panel's secret; equal secrets give equal keys, so panels behind one address agree.
    """

    def __init__(self, secret_key: str) -> None:
        seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"kodosumi identity").derive(secret_key.encode())
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key: bytes = self._key.public_key().public_bytes_raw()
        self.key_id: str = hashlib.sha256(self.public_key).hexdigest()[:16]

    def token(self, username: str, audience: str, method: str, path: str) -> str:
        """A token for one request.

        Args:
            username: role id.
            audience: base address of the app (its ``x-kodosumi_base``).
            method: HTTP method. path: path of the request at the app, without query.
        """
        now = int(time.time())
        claims = {
            "sub": username,
            "aud": audience,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_S,
            "jti": uuid.uuid4().hex,
            "htm": method.upper(),
            "htu": path,
        }
        return self._signed(claims)

    def grant(
        self, username: str, fid: str, *, launches: bool, root: str = "", mark: str = "", panel_url: str = ""
    ) -> str:
        """A run's key to its files, to be sent in :data:`GRANT_HEADER`; see :class:`RunGrant` for the arguments."""
        now = int(time.time())
        claims = {
            "sub": username,
            "aud": _GRANT_AUDIENCE,
            "iat": now,
            "exp": now + GRANT_LIFETIME_S,
            "fid": fid,
            "launches": launches,
            "root": root,
            "mark": mark,
            "panel": panel_url,
        }
        return self._signed(claims)

    def granted(self, token: str) -> RunGrant | None:
        """What a run's key allows, when it was signed here; else None."""
        return verified_grant(token, {self.key_id: self.public_key})

    def _signed(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self._key, algorithm="EdDSA", headers={"kid": self.key_id})


def key_id_of(token: str) -> str | None:
    """The id of the key that a token claims to be signed with, or None when it isn't a token."""
    try:
        return jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError:
        return None


def verified_user(token: str, public_keys: Mapping[str, bytes], audience: str, method: str, path: str) -> str | None:
    """The role id that a token vouches for, or None when it doesn't hold for this app and request."""
    claims = _verified(token, public_keys, audience, ("exp", "iat", "sub", "aud"))
    if claims is None or claims.get("htm") != method.upper() or claims.get("htu") != path:
        return None
    return str(claims["sub"])


def verified_grant(token: str, public_keys: Mapping[str, bytes]) -> RunGrant | None:
    """What a run's key allows, or None when no known panel signed it or it has expired."""
    claims = _verified(token, public_keys, _GRANT_AUDIENCE, ("exp", "iat", "sub", "aud", "fid", "launches"))
    if claims is None:
        return None
    return RunGrant(
        fid=str(claims["fid"]),
        username=str(claims["sub"]),
        launches=claims["launches"] is True,
        root=str(claims.get("root", "")),
        mark=str(claims.get("mark", "")),
        token=token,
        issued_at=float(claims["iat"]),
        panel_url=str(claims.get("panel", "")),
    )


def _verified(
    token: str, public_keys: Mapping[str, bytes], audience: str, required: tuple[str, ...]
) -> dict[str, Any] | None:
    public_key = public_keys.get(key_id_of(token) or "")
    if public_key is None:
        return None
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            Ed25519PublicKey.from_public_bytes(public_key),
            algorithms=["EdDSA"],
            audience=audience,
            options={"require": list(required)},
        )
    except jwt.PyJWTError:
        return None
    return claims
