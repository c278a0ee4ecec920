"""Logging in, three ways, staying logged in, and logging out."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi.const import TOKEN_KEY
from kodosumi.service.app import create_app
from kodosumi.service.login import local_path

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"name": "admin", "password": "admin"}


async def test_each_of_the_three_logins_gives_name_id_key_and_a_safe_cookie(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/login", params=FORM),
        await client.post("/login", data=FORM),
        await client.post("/api/login", json=FORM),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"name", "id", "KODOSUMI_API_KEY"}
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie


async def test_the_published_curl_line_logs_in(address: str, tmp_path: Path) -> None:
    jar = str(tmp_path / "cookie")
    line = ["curl", "-sS", "-b", jar, "-c", jar, "-X", "POST", "-d", '{"name": "admin", "password": "admin"}']
    done = await asyncio.to_thread(
        subprocess.run, [*line, f"{address}/api/login"], capture_output=True, text=True, check=True
    )
    assert '"KODOSUMI_API_KEY"' in done.stdout
    assert TOKEN_KEY in Path(jar).read_text()


async def test_a_form_login_goes_on_to_a_local_path_only(client: httpx.AsyncClient) -> None:
    for target, expected in {
        "/admin/timeline/view": "/admin/timeline/view",
        "https://evil.example/": "/",
        "//evil.example/": "/",
        "/\\evil.example": "/",
        "/\t/evil.example": "/",
    }.items():
        answer = await client.post("/login", data=FORM | {"redirect": target})
        assert (answer.status_code, answer.headers["location"]) == (302, expected)


def test_only_paths_of_the_panel_are_local() -> None:
    assert local_path("/a?b=c#d") == "/a?b=c#d"
    for hostile in (None, "", "a", "//a", "/\\a", "/\r\nX: y", "javascript:alert(1)", "/\t/a"):
        assert local_path(hostile) is None


@pytest.mark.parametrize("given", [{"name": "admin", "password": "wrong"}, {"name": "nobody", "password": "admin"}])
async def test_wrong_and_unknown_get_the_same_answer(client: httpx.AsyncClient, given: dict[str, str]) -> None:
    answer = await client.post("/api/login", json=given)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "Invalid name or password"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": 1}', b"[" * 50_000, b'"x"'])
async def test_a_body_that_is_no_login_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/api/login", content=body)).status_code == 400
    assert (await client.post("/login", content=body)).status_code == 400


async def test_a_huge_login_is_refused_unread(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/login", content=b"x" * 10_000_000)).status_code == 413


async def test_passwords_that_bcrypt_cannot_read_are_just_wrong(client: httpx.AsyncClient) -> None:
    for password in (b"x" * 100, b"a\\u0000b", b"\\ud800"):
        body = b'{"name": "admin", "password": "%s"}' % password
        assert (await client.post("/api/login", content=body)).status_code == 401


async def test_names_that_no_role_can_have_are_just_wrong(client: httpx.AsyncClient) -> None:
    for name in (b"\\ud800", b"\\u0000", b"a" * 10_000):
        body = b'{"name": "%s", "password": "admin"}' % name
        assert (await client.post("/api/login", content=body)).status_code == 401


async def test_the_login_page_shows_what_went_wrong_in_place(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers=BROWSER)
    assert page.status_code == 200 and 'action="/login"' in page.text
    answer = await client.post("/login", data=FORM | {"password": "no", "redirect": "/admin/flow"}, headers=BROWSER)
    assert answer.status_code == 401
    assert "Invalid name or password" in answer.text and 'name="password"' in answer.text


async def test_the_first_page_goes_to_the_flows_once_logged_in(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 401
    await client.post("/login", data=FORM)
    answer = await client.get("/", headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/flow")
    assert (await client.get("/admin")).headers["location"] == "/admin/flow"


async def test_a_cookie_that_holds_no_more_ends_at_the_login_page_without_a_loop(client: httpx.AsyncClient) -> None:
    client.cookies.set(TOKEN_KEY, "nonsense")
    answer = await client.get("/admin", headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (302, "/")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    client.cookies.set(TOKEN_KEY, "nonsense")
    assert (await client.get("/", headers=BROWSER)).status_code == 200


async def test_a_401_for_one_request_never_logs_a_browser_out_of_a_valid_session(admin: httpx.AsyncClient) -> None:
    refused = await admin.get("/role/me", headers=BROWSER | {"KODOSUMI_API_KEY": "nonsense"})
    assert refused.status_code == 302
    assert "set-cookie" not in refused.headers
    assert (await admin.get("/role/me")).status_code == 200


async def test_logging_out_ends_the_session_everywhere(admin: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    key = admin.key  # type: ignore[attr-defined]
    assert (await client.get("/role/me", headers={"KODOSUMI_API_KEY": key})).status_code == 200
    answer = await admin.post("/logout")
    assert (answer.status_code, answer.content) == (200, b"")
    assert TOKEN_KEY not in admin.cookies
    assert (await client.get("/role/me", headers={"KODOSUMI_API_KEY": key})).status_code == 401


async def test_logout_redirects_to_local_paths_only(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/logout", params={"redirect": "//evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/")


async def test_the_admin_logout_page_logs_out(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/admin/logout")).headers["location"] == "/"
    assert (await admin.get("/role/me")).status_code == 401


async def test_the_api_key_wins_over_the_cookie_and_hyphens_are_fine(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    for name in ("KODOSUMI_API_KEY", "KODOSUMI-API-KEY"):
        answer = await admin.get("/role/me", headers={name: alice.key})  # type: ignore[attr-defined]
        assert answer.json()["name"] == "alice"


async def test_guessing_is_slowed_down_with_a_time_to_wait(client: httpx.AsyncClient, alice: httpx.AsyncClient) -> None:
    wrong = {"name": "alice", "password": "guess"}
    codes = [(await client.post("/api/login", json=wrong)).status_code for _ in range(11)]
    assert codes[:10] == [401] * 10 and codes[10] == 429
    answer = await client.post("/api/login", json=wrong)
    assert int(answer.headers["retry-after"]) > 0
    assert (await client.post("/api/login", json=FORM)).status_code == 200, "others are not locked out"


async def test_get_login_is_off_where_others_can_reach_the_panel(
    options: dict[str, Any], store: Any, transport: Any, mode: Any
) -> None:
    public = options | {"app_server": "http://0.0.0.0:3370", "secret_key": "s" * 32, "admin_password": "better"}
    for allowed, status in ((None, 403), (True, 200), (False, 403)):
        app = create_app(store=store, transport=transport, mode=mode, **public | {"get_login": allowed})
        async with app.router.lifespan_context(app):
            link = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=link, base_url="http://panel.example") as client:
                answer = await client.get("/login", params={"name": "admin", "password": "better"})
                assert answer.status_code == status


async def test_the_default_password_does_not_work_under_a_name_that_points_here(
    visit: Callable[[], httpx.AsyncClient],
) -> None:
    client = visit()
    answer = await client.post("/api/login", json=FORM, headers={"Host": "rebound.example:3370"})
    assert answer.status_code == 403


async def test_under_tls_the_cookie_is_secure(options: dict[str, Any], client: httpx.AsyncClient, panel: Any) -> None:
    panel.settings = panel.settings.model_copy(update={"app_server": "https://localhost:3370"})
    assert "Secure" in (await client.post("/login", data=FORM)).headers["set-cookie"]
