"""The proxy: what reaches the app, what comes back, and what never does."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest
from starlette.responses import Response, StreamingResponse

from kodosumi.identity import verified_user
from kodosumi.service.context import Panel
from tests.integration.panel.flow.apps import FID, FLOW, Source, echo_app, flow_app, register


@pytest.fixture
async def app_source(admin: Any, serve: Any) -> Source:
    """The echo app, registered."""
    source: Source = await serve(echo_app())
    await register(admin, source.openapi)
    return source


def said(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()
    data["headers"] = dict(data["headers"])
    return data


async def test_a_body_without_a_content_type_of_its_own_reaches_the_app(alice: Any, app_source: Source) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await alice.post(f"{app_source.place}/", content='{"tasks": 100}', headers=headers)
    assert answer.json() == {"result": FID, "inputs": '{"tasks": 100}'}
    assert answer.headers["kodosumi_launch"] == FID


async def test_every_method_is_passed_on(alice: Any, app_source: Source) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert said(await alice.request(method, f"{app_source.place}/echo/x"))["method"] == method


async def test_head_is_answered_without_a_body(alice: Any, app_source: Source) -> None:
    answer = await alice.head(f"{app_source.place}/echo/x")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_path_and_query_reach_the_app_as_written(alice: Any, address: str, app_source: Source) -> None:
    target = f"{app_source.place}/echo/a%2Fb%20c/%C3%BC//d;e=1/-/x?q=a+b&q=%2F&empty=&%zz"
    async with httpx.AsyncClient(headers={"KODOSUMI_API_KEY": alice.key}, timeout=60) as client:
        request = httpx.Request("GET", address, headers={"KODOSUMI_API_KEY": alice.key})
        request.extensions = {"target": target.encode()}
        got = said(await client.send(request))
    assert got["raw_path"] == "/echo/a%2Fb%20c/%C3%BC//d;e=1/-/x"
    assert got["query"] == "q=a+b&q=%2F&empty=&%zz"


async def test_the_app_never_sees_what_is_the_panels(alice: Any, app_source: Source) -> None:
    forged = {
        "KODOSUMI_API_KEY": alice.key,
        "KODOSUMI-API-KEY": alice.key,
        "Cookie": f"kodosumi_jwt={alice.key}; other=1",
        "x-kodosumi_user": "somebody",
        "X-Kodosumi-User": "somebody",
        "X_Kodosumi_User": "somebody",
        "x-kodosumi-identity": "forged",
        "x-kodosumi_identity": "forged",
        "x-kodosumi-anything": "forged",
        "x-forwarded-for": "1.2.3.4",
        "Connection": "keep-alive, x-hop",
        "X-Hop": "1",
        "TE": "trailers",
        "X-Mine": "kept",
    }
    headers = said(await alice.get(f"{app_source.place}/echo/x", headers=forged))["headers"]
    assert headers["x-mine"] == "kept"
    assert headers["host"] == f"127.0.0.1:{app_source.port}"
    assert headers["x-kodosumi_user"] == headers["x-kodosumi-user"] == alice.id
    assert alice.key not in str(headers)
    assert "somebody" not in str(headers) and "forged" not in str(headers)
    for name in ("cookie", "x-hop", "te", "x-forwarded-for", "kodosumi_api_key", "x-kodosumi_identity"):
        assert name not in headers


async def test_the_app_can_verify_who_the_user_is(alice: Any, panel: Panel, app_source: Source) -> None:
    got = said(await alice.post(f"{app_source.place}/echo/a%20b?x=1", content=b"{}"))
    headers = got["headers"]
    base = f"http://127.0.0.1:{app_source.port}"
    assert headers["x-kodosumi_base"] == headers["x-kodosumi-base"] == base
    assert headers["x-kodosumi-url"] == "http://localhost:3370"
    keys = {panel.identity.key_id: panel.identity.public_key}
    token = headers["x-kodosumi-identity"]
    assert verified_user(token, keys, base, "POST", "/echo/a b") == alice.id
    assert verified_user(token, keys, base, "GET", "/echo/a b") is None
    assert verified_user(token, keys, base, "POST", "/echo/other") is None
    assert verified_user(token, keys, "http://127.0.0.1:1", "POST", "/echo/a b") is None


async def test_an_app_without_a_registration_is_not_reached(alice: Any, serve: Any) -> None:
    source = await serve(echo_app())
    answer = await alice.get(f"{source.place}/")
    assert answer.status_code == 404
    assert answer.json()["error"] == "NotFound"


async def test_nobody_reaches_an_app_without_logging_in(client: Any, app_source: Source) -> None:
    assert (await client.get(f"{app_source.place}/echo/x")).status_code == 401


async def test_what_is_no_place_of_an_app_is_a_400(alice: Any) -> None:
    for path in ("/-/x", "/-/localhost/x/-/", "/-/localhost/80", "/-/a b/80/-/", "/-/%00/80/-/"):
        assert (await alice.get(path)).status_code == 400


async def test_a_path_cannot_leave_the_app_it_names(admin: Any, address: str, serve: Any) -> None:
    outer = echo_app()
    outer.mount("/app", flow_app("Inner"))
    source = await serve(outer)
    await register(admin, f"{source.url}/app/openapi.json")
    for path in ("/../echo/x", "/%2e%2e/echo/x", "/..%2fecho/x", "/%252e%252e/echo/x"):
        async with httpx.AsyncClient(timeout=60) as client:
            request = httpx.Request("GET", address, headers={"KODOSUMI_API_KEY": admin.key})
            request.extensions = {"target": f"/-/127.0.0.1/{source.port}/app/-{path}".encode()}
            assert (await client.send(request)).status_code == 400
    assert outer.state.seen == []


async def test_an_app_that_is_down_is_a_502(alice: Any, app_source: Source) -> None:
    await app_source.stop()
    answer = await alice.get(f"{app_source.place}/")
    assert answer.status_code == 502
    assert answer.json()["path"] == f"{app_source.place}/"
    assert "cannot be reached" in answer.json()["detail"]


class TestSlowApps:
    @pytest.fixture
    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"proxy_timeout": 0.3}

    async def test_an_app_that_does_not_answer_is_a_504(self, alice: Any, app_source: Source) -> None:
        answer = await alice.get(f"{app_source.place}/slow")
        assert answer.status_code == 504
        assert "KODO_PROXY_TIMEOUT" in answer.json()["detail"]


async def test_a_big_body_streams_to_the_app(alice: Any, address: str, app_source: Source) -> None:
    async def content() -> Any:
        for _ in range(320):
            yield b"x" * 65_536

    async with httpx.AsyncClient(headers={"KODOSUMI_API_KEY": alice.key}, timeout=60) as client:
        answer = await client.post(f"{address}{app_source.place}/count", content=content())
    assert answer.text == str(320 * 65_536)


async def test_a_big_answer_streams_to_the_caller(alice: Any, address: str, app_source: Source) -> None:
    size = 0
    async with (
        httpx.AsyncClient(headers={"KODOSUMI_API_KEY": alice.key}, timeout=60) as client,
        client.stream("GET", f"{address}{app_source.place}/big/320") as answer,
    ):
        async for chunk in answer.aiter_bytes():
            size += len(chunk)
    assert size == 320 * 65_536


async def test_an_answer_arrives_piece_by_piece(admin: Any, address: str, serve: Any) -> None:
    more = asyncio.Event()
    app = echo_app()

    async def pieces() -> Any:
        yield b"first"
        await more.wait()
        yield b"second"

    app.get("/pieces", openapi_extra=FLOW)(lambda: StreamingResponse(pieces()))
    source = await serve(app)
    await register(admin, source.openapi)
    async with (
        httpx.AsyncClient(headers={"KODOSUMI_API_KEY": admin.key}, timeout=60) as client,
        client.stream("GET", f"{address}{source.place}/pieces") as answer,
    ):
        read = answer.aiter_bytes()
        assert await anext(read) == b"first"
        more.set()
        assert await anext(read) == b"second"


async def test_an_answer_that_the_caller_leaves_is_left_by_the_panel_too(admin: Any, address: str, serve: Any) -> None:
    left = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/openapi.json":
            await Response('{"paths": {}}', media_type="application/json")(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    source = await serve(endless)
    await register(admin, source.openapi)
    async with (
        httpx.AsyncClient(headers={"KODOSUMI_API_KEY": admin.key}, timeout=60) as client,
        client.stream("GET", f"{address}{source.place}/x") as answer,
    ):
        assert await anext(answer.aiter_bytes()) == b"x"
    await asyncio.wait_for(left.wait(), 20)


async def test_an_encoded_answer_arrives_as_the_app_encoded_it(admin: Any, serve: Any) -> None:
    app = echo_app()
    body = gzip.compress(b"hello" * 100)
    app.get("/zip", openapi_extra=FLOW)(lambda: Response(body, headers={"Content-Encoding": "gzip"}))
    source = await serve(app)
    await register(admin, source.openapi)
    answer = await admin.get(f"{source.place}/zip")
    assert answer.text == "hello" * 100
    assert int(answer.headers["content-length"]) == len(body)
    plain = httpx.Headers({"accept-encoding": ""})
    got = said(await admin.get(f"{source.place}/echo/x", headers=plain))
    assert "gzip" not in got["headers"]["accept-encoding"]


async def test_an_answer_cannot_act_on_the_panel(alice: Any, app_source: Source) -> None:
    answer = await alice.get(f"{app_source.place}/headers")
    assert answer.headers["x-public"] == "2"
    for name in ("set-cookie", "clear-site-data", "access-control-allow-origin", "x-private"):
        assert name not in answer.headers
    (policy,) = answer.headers.get_list("content-security-policy")
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy and "allow-same-origin" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.headers.get_list("date")) <= 1


async def test_what_an_app_says_is_never_a_script_of_a_page(alice: Any, app_source: Source) -> None:
    for kind in ("script", "serviceworker", "style"):
        answer = await alice.get(f"{app_source.place}/echo/x.js", headers={"Sec-Fetch-Dest": kind})
        assert answer.status_code == 403


async def test_a_cookie_that_an_app_sets_for_one_user_never_goes_out_for_another(
    alice: Any, bob: Any, app_source: Source
) -> None:
    await alice.get(f"{app_source.place}/headers")
    assert "cookie" not in said(await bob.get(f"{app_source.place}/echo/x"))["headers"]


async def test_a_redirect_of_the_app_leads_back_through_the_panel(alice: Any, app_source: Source) -> None:
    for target, expected in (
        ("/echo/x?y=1", f"{app_source.place}/echo/x?y=1"),
        (f"{app_source.url}/z", f"{app_source.place}/z"),
        ("https://elsewhere.example/", "https://elsewhere.example/"),
    ):
        answer = await alice.get(f"{app_source.place}/redirect", params={"to": target})
        assert answer.status_code == 307
        assert answer.headers.get("location") == expected
    answer = await alice.get(f"{app_source.place}/redirect", params={"to": "javascript:alert(1)"})
    assert "location" not in answer.headers


async def test_another_sites_page_cannot_post_to_an_app_by_cookie(alice: Any, app_source: Source) -> None:
    answer = await alice.post(f"{app_source.place}/", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


async def test_an_app_that_comes_back_is_reached_again(alice: Any, app_source: Source) -> None:
    await alice.get(f"{app_source.place}/")
    await app_source.stop()
    assert (await alice.get(f"{app_source.place}/")).status_code == 502
    await app_source.start()
    assert (await alice.get(f"{app_source.place}/")).status_code == 200
