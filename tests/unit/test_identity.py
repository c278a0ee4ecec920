"""A run's key: what it says, who can make one, and what it is never taken for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kodosumi import identity
from kodosumi.identity import IdentitySigner, RunGrant, key_id_of, verified_grant, verified_user
from kodosumi.launch import files_of

PANEL = IdentitySigner("the panel's secret")
KEYS = {PANEL.key_id: PANEL.public_key}
FID = "0123456789abcdef01234567"


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_key_says_whose_run_it_is_for_and_where_its_files_are() -> None:
    token = PANEL.grant("alice", FID, launches=True, root="/files", mark="m")
    expected = RunGrant(FID, "alice", True, "/files", "m", token)
    assert PANEL.granted(token) == verified_grant(token, KEYS) == expected
    assert key_id_of(token) == PANEL.key_id
    plain = PANEL.granted(PANEL.grant("bob", FID, launches=False))
    assert plain is not None and (plain.launches, plain.root, plain.mark, plain.panel_url) == (False, "", "", "")


def test_a_key_says_where_the_panel_is_reached_when_that_is_elsewhere() -> None:
    grant = PANEL.granted(PANEL.grant("alice", FID, launches=True, panel_url="http://proxy:8080"))

    assert grant is not None
    assert files_of(grant, "http://localhost:3370").panel_url == "http://proxy:8080"
    assert files_of(replace(grant, panel_url=""), "http://localhost:3370").panel_url == "http://localhost:3370"


def test_panels_of_one_secret_take_each_others_keys() -> None:
    token = IdentitySigner("the panel's secret").grant("alice", FID, launches=True)
    assert PANEL.granted(token) is not None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        IdentitySigner("another").grant("alice", FID, launches=True),
        PANEL.token("alice", "http://app.test", "POST", "/"),
        jwt.encode({"sub": "alice", "fid": FID, "launches": True}, "x" * 32, headers={"kid": PANEL.key_id}),
        jwt.encode({"sub": "alice"}, Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": PANEL.key_id}),
    ],
)
def test_what_no_panel_signed_as_a_runs_key_is_none(token: str) -> None:
    assert PANEL.granted(token) is None


def test_a_key_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(identity.time, "time", lambda: -identity.GRANT_LIFETIME_S)
        old = PANEL.grant("alice", FID, launches=True)
    assert PANEL.granted(old) is None
    claims = claims_of(PANEL.grant("alice", FID, launches=True))
    assert claims["exp"] - time.time() <= identity.GRANT_LIFETIME_S


def test_a_runs_key_never_says_who_a_user_is() -> None:
    token = PANEL.grant("alice", FID, launches=True)
    audience = claims_of(token)["aud"]
    assert verified_user(token, KEYS, audience, "POST", "/") is None
    # Nor would it if its claims were those of an identity, for an app at that very address.
    assert verified_grant(PANEL.token("alice", audience, "POST", "/"), KEYS) is None
