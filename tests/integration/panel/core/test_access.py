"""The panel is the only door: every route but an exact list asks who is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI

from kodosumi.const import TOKEN_KEY
from kodosumi.service.app import create_app
from kodosumi.service.context import Panel
from kodosumi.service.jwt import SessionTokens
from kodosumi.service.negotiation import route_methods
from kodosumi.transport.memory import MemoryTransport

PUBLIC = {
    ("GET", "/"),  # the login page, or a 401 of its own
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/api/login"),
    ("GET", "/health/live"),
    ("GET", "/static/{path:path}"),
}
"""All that answers nobody in particular."""

OPERATORS_ONLY = {
    ("GET", "/metrics"),
    ("POST", "/role"),
    ("GET", "/role"),
    ("GET", "/role/{name_or_id}"),
    ("PUT", "/role/{role_id}"),
    ("DELETE", "/role/{role_id}"),
    ("POST", "/flow/register"),
    ("PUT", "/flow/register"),
    ("POST", "/flow/unregister"),
}


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    for path, methods in route_methods(app):
        for method in sorted(methods - {"HEAD"}):
            yield method, path


def concrete(path: str) -> str:
    """A path that matches a template."""
    parts = [part if not part.startswith("{") else "0" * 24 for part in path.replace(":path}", "}").split("/")]
    return "/".join(parts) or "/"


async def test_every_route_but_the_public_ones_refuses_nobody(app: FastAPI, client: httpx.AsyncClient) -> None:
    found = set(routes(app))
    assert found >= PUBLIC
    for method, path in found - PUBLIC:
        answer = await client.request(method, concrete(path))
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert answer.json() == {
            "error": "Unauthorized",
            "path": concrete(path),
            "detail": "Log in first.",
            "status_code": 401,
        }


async def test_operators_routes_refuse_users(app: FastAPI, alice: httpx.AsyncClient) -> None:
    for method, path in OPERATORS_ONLY & set(routes(app)):
        body = {"name": "x", "email": "x@y", "password": "p", "url": "http://localhost:1/"}
        answer = await alice.request(method, concrete(path), json=body if method in ("POST", "PUT") else None)
        assert answer.status_code == 403, (method, path, answer.text)


async def test_no_route_fails_for_user_or_operator(
    app: FastAPI, alice: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    for method, path in sorted(set(routes(app)) - PUBLIC):
        if path.endswith("logout"):
            continue
        for user in (alice, admin):
            answer = await user.request(method, concrete(path))
            assert answer.status_code < 500 or path == "/health", (method, path, answer.status_code, answer.text)


async def test_every_path_answers_options(app: FastAPI, client: httpx.AsyncClient) -> None:
    forwarded = {path for path, methods in route_methods(app) if "OPTIONS" in methods}
    for path, methods in route_methods(app):
        if path in forwarded:
            continue
        answer = await client.options(concrete(path))
        assert answer.status_code == 204, path
        assert methods - {"HEAD"} <= {method.strip() for method in answer.headers["allow"].split(",")}


async def test_static_files_need_no_login_and_stay_in_their_folder(client: httpx.AsyncClient) -> None:
    assert (await client.get("/static/kodosumi.css")).status_code == 200
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"):
        assert (await client.get(path)).status_code == 404


def forgeries(panel: Panel, role_id: str, good: str) -> Iterator[str]:
    now = int(time.time())
    claims: dict[str, Any] = jwt.decode(good, options={"verify_signature": False})
    head, body, signature = good.split(".")
    yield panel.tokens.token(role_id, claims["sid"], now - 60)  # expired
    yield SessionTokens("another secret").token(role_id, claims["sid"])
    yield jwt.encode(claims, None, algorithm="none")
    yield f"{head}.{body}."
    yield f"{head}.{body}.{signature[:-4]}AAAA"
    yield jwt.encode(claims, "kodosumi" * 8, algorithm="HS256")
    yield panel.tokens.token(role_id, "0" * 32)  # no such session
    yield panel.tokens.token("00000000-0000-0000-0000-000000000000", claims["sid"])  # another's session
    yield from ("", "x", "a.b.c", "é", "." * 1000)


async def test_forged_and_expired_tokens_are_nobodys(panel: Panel, admin: httpx.AsyncClient, client: Any) -> None:
    for token in forgeries(panel, admin.id, admin.key):  # type: ignore[attr-defined]
        answer = await client.get("/role/me", headers={"KODOSUMI_API_KEY": token.encode()})
        assert answer.status_code == 401, token
        if token.isascii():
            answer = await client.get("/role/me", headers={"Cookie": f"{TOKEN_KEY}={token}"})
            assert answer.status_code == 401, token


async def test_a_session_token_says_who_when_and_until_when(admin: Any) -> None:
    header = jwt.get_unverified_header(admin.key)
    claims = jwt.decode(admin.key, options={"verify_signature": False})
    assert header["alg"] == "HS256"
    assert claims["sub"] == admin.id
    # The session is written in between.
    assert 24 * 60 * 60 - 60 <= claims["exp"] - claims["iat"] <= 24 * 60 * 60


OWN = "http://localhost:3370"
OTHER = "https://evil.example"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": OWN}, True),
        ({"Origin": "https://localhost:3370"}, True),  # behind a proxy that ends TLS
        ({"Referer": f"{OWN}/admin/flow"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": OTHER}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8000"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": OTHER}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://localhost:8000"}, False),
        ({"Origin": "http://localhost:x"}, False),
        ({"Referer": f"{OTHER}/"}, False),
    ],
)
async def test_a_state_changing_call_by_cookie_needs_to_come_from_the_panels_pages(
    alice: Any, headers: dict[str, str], allowed: bool
) -> None:
    change = {"email": "alice@new.example"}
    by_cookie = await alice.put("/role/me", json=change, headers=headers)
    assert by_cookie.status_code == (200 if allowed else 403), by_cookie.text
    by_key = await alice.put("/role/me", json=change, headers=headers | {"KODOSUMI_API_KEY": alice.key})
    assert by_key.status_code == 200
    assert (await alice.get("/role/me", headers=headers)).status_code == 200
    login = await alice.post("/api/login", json={"name": "admin", "password": "admin"}, headers=headers)
    assert login.status_code == (200 if allowed else 403)


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
async def test_another_sites_page_steers_no_run(alice: httpx.AsyncClient, action: str) -> None:
    fid = "0" * 24
    forged = await alice.post(f"/outputs/{fid}/{action}", headers={"Sec-Fetch-Site": "cross-site", "Origin": OTHER})
    assert forged.status_code == 403
    own = await alice.post(f"/outputs/{fid}/{action}", headers={"Sec-Fetch-Site": "same-origin", "Origin": OWN})
    assert own.status_code == 404


async def test_another_sites_link_does_not_log_out(alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/logout", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert (await alice.get("/role/me")).status_code == 200


async def test_only_named_origins_may_call_with_credentials(options: dict[str, Any], store: Any, mode: Any) -> None:
    friend = "https://friend.example"
    app = create_app(store=store, transport=MemoryTransport(), mode=mode, **options | {"cors_origins": [friend, "*"]})
    async with app.router.lifespan_context(app):
        link = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=link, base_url="http://localhost:3370") as client:
            ask = {"Access-Control-Request-Method": "PUT"}
            granted = await client.options("/role/me", headers=ask | {"Origin": friend})
            assert granted.headers["access-control-allow-origin"] == friend
            refused = await client.options("/role/me", headers=ask | {"Origin": OTHER})
            assert "access-control-allow-origin" not in refused.headers
            assert (await client.get("/health/live", headers={"Origin": OTHER})).headers.get(
                "access-control-allow-origin"
            ) is None


async def test_the_schema_lists_the_published_paths_and_how_to_log_in(alice: httpx.AsyncClient) -> None:
    document = (await alice.get("/schema/openapi.json")).json()
    assert document["paths"].keys() >= {"/api/login", "/role", "/outputs/status/{fid}", "/health"}
    steering = {f"/outputs/{{fid}}/{action}" for action in ("pause", "resume", "cancel")}
    assert document["paths"].keys() >= steering
    for path in steering:
        assert document["paths"][path]["post"]["responses"].keys() >= {"200", "404", "409", "503"}
    assert {scheme["name"] for scheme in document["components"]["securitySchemes"].values()} == {
        "KODOSUMI_API_KEY",
        TOKEN_KEY,
    }
    assert "422" not in document["paths"]["/role"]["post"]["responses"]
    for page in ("/schema", "/schema/swagger"):
        text = (await alice.get(page)).text
        assert "/role/{name_or_id}" in text and "<script>" not in text
