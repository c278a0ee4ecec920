"""Sources are registered, shared, refreshed, and keep their flows while they are down."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse

from kodosumi.service.app import create_app
from kodosumi.service.flow import fetch
from tests.conditions import until
from tests.integration.panel.flow.apps import FLOW, Source, flow_app, register


async def summaries(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/flow", params=query)
    assert answer.status_code == 200, answer.text
    return [item["summary"] for item in answer.json()["items"]]


async def test_a_registered_source_shows_its_flows_to_every_user(admin: Any, alice: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime", tags=["math"], description="Finds prime gaps."))
    (flow,) = await register(admin, source.openapi)
    page = (await alice.get("/flow")).json()
    assert page == {"items": [flow], "offset": None}
    assert flow["url"] == f"{source.place}/0"
    assert flow["source"] == source.openapi
    assert (flow["method"], flow["stale"]) == ("GET", False)
    assert (await alice.get("/flow/tags")).json() == {"math": 1}
    assert (await alice.get("/flow/register")).json() == {"routes": [source.openapi], "registers": []}


async def test_only_operators_register(alice: Any, client: Any) -> None:
    body = {"url": "http://localhost:1/openapi.json"}
    for who, status in ((alice, 403), (client, 401)):
        assert (await who.post("/flow/register", json=body)).status_code == status
        assert (await who.post("/flow/unregister", json=body)).status_code == status
        assert (await who.put("/flow/register")).status_code == status


async def test_serve_lists_its_applications_and_each_is_read(admin: Any, serve: Any) -> None:
    root = FastAPI()
    root.mount("/prime", flow_app("Prime"))
    root.mount("/calc", flow_app("Calc", "Sum"))
    root.get("/-/routes")(
        lambda: {"/prime": "prime", "/calc": "calc", "/plain": "no openapi", "//evil.example": "x", "@evil": "y"}
    )
    source = await serve(root)
    flows = await register(admin, f"{source.url}/-/routes")
    assert [flow["summary"] for flow in flows] == ["Calc", "Prime", "Sum"]
    assert flows[1]["url"] == f"/-/127.0.0.1/{source.port}/prime/-/0"
    assert flows[1]["base_url"] == f"{source.url}/prime"


async def test_pages_follow_each_other_by_offset(admin: Any, serve: Any) -> None:
    source = await serve(flow_app(*(f"Flow {number}" for number in range(5))))
    await register(admin, source.openapi)
    seen: list[str] = []
    offset = None
    for _ in range(3):
        page = (await admin.get("/flow", params={"pp": 2} | ({"offset": offset} if offset else {}))).json()
        seen += [item["summary"] for item in page["items"]]
        offset = page["offset"]
    assert seen == [f"Flow {number}" for number in range(5)]
    assert offset is None


async def test_search_looks_through_what_describes_a_flow(admin: Any, serve: Any) -> None:
    words = {"description": "Zebra", "tags": ["Quokka"], "x-author": "Ada", "x-organization": "Acme"}
    source = await serve(flow_app("Prime", **words))
    other = await serve(flow_app("Other"))
    await register(admin, source.openapi, other.openapi)
    for word in ("PRIME", "zebra", "quokka", "ada", "acme", "Okk"):
        assert await summaries(admin, q=word) == ["Prime"]
    assert await summaries(admin, q="nothing") == []


async def test_a_broken_page_or_offset_is_a_400_that_says_what_to_do(admin: Any) -> None:
    broken: list[dict[str, Any]] = [
        {"pp": 10**30},
        {"pp": 0},
        {"pp": "x"},
        {"offset": "../x"},
        {"offset": "0" * 32},
        {"q": "x" * 1000},
    ]
    for query in broken:
        answer = await admin.get("/flow", params=query)
        assert answer.status_code == 400
        assert next(iter(query)) in answer.json()["detail"]


async def test_a_source_that_cannot_be_read_is_refused_and_nothing_is_added(admin: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime"))
    gone = await Source(flow_app("Gone")).start()
    await gone.stop()
    answer = await admin.post("/flow/register", json={"url": [source.openapi, gone.openapi]})
    assert answer.status_code == 400
    assert gone.openapi in answer.json()["detail"]
    assert await summaries(admin) == []


async def test_a_source_that_is_down_keeps_its_flows_marked_stale(admin: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime"))
    await register(admin, source.openapi)
    await source.stop()
    assert (await admin.put("/flow/register")).json()["connected"] == []
    (flow,) = (await admin.get("/flow")).json()["items"]
    assert (flow["summary"], flow["stale"]) == ("Prime", True)
    source.app = flow_app("Prime", "Sum")
    await source.start()
    refreshed = (await admin.put("/flow/register")).json()
    assert refreshed["summaries"] == ["Prime", "Sum"]
    assert refreshed["connected"] == refreshed["sources"] == [source.openapi]
    assert not any(flow["stale"] for flow in (await admin.get("/flow")).json()["items"])


async def test_flows_that_their_app_no_longer_offers_are_gone_after_a_refresh(admin: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime", "Sum"))
    await register(admin, source.openapi)
    await source.stop()
    source.app = flow_app("Prime")
    await source.start()
    assert (await admin.put("/flow/register")).json()["deletes"] == [f"{source.place}/1"]


async def test_of_listed_applications_only_the_one_that_is_down_is_stale(admin: Any, serve: Any) -> None:
    up = True

    async def calc() -> Any:
        return calc_app.openapi() if up else JSONResponse({}, 503)

    calc_app, root = flow_app("Calc"), FastAPI()
    root.mount("/prime", flow_app("Prime"))
    root.get("/calc/openapi.json")(calc)
    root.get("/-/routes")(lambda: {"/prime": "prime", "/calc": "calc"})
    source = await serve(root)
    await register(admin, f"{source.url}/-/routes")
    up = False
    await admin.put("/flow/register")
    items = (await admin.get("/flow")).json()["items"]
    assert {item["summary"]: item["stale"] for item in items} == {"Calc": True, "Prime": False}


async def test_unregistering_takes_the_flows_along(admin: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime"))
    await register(admin, source.openapi)
    gone = await admin.post("/flow/unregister", json={"url": source.openapi})
    assert gone.json() == {"deletes": [f"{source.place}/0"]}
    assert await summaries(admin) == []
    assert (await admin.post("/flow/unregister", json={"url": source.openapi})).status_code == 404


async def test_registering_twice_is_registering_once(admin: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime"))
    await register(admin, source.openapi)
    await register(admin, source.openapi.replace("127.0.0.1", "127.0.0.1"), source.openapi)
    assert (await admin.get("/flow/register")).json()["routes"] == [source.openapi]
    assert await summaries(admin) == ["Prime"]


async def test_every_panel_process_sees_what_one_of_them_registered(
    admin: Any, serve: Any, options: dict[str, Any], store: Any, transport: Any, mode: Any
) -> None:
    other = create_app(store=store, transport=transport, mode=mode, **options)
    async with other.router.lifespan_context(other):
        source = await serve(flow_app("Prime"))
        await register(admin, source.openapi)
        catalog = await other.state.flow_register.catalog()
        assert [flow.summary for flow in catalog.flows] == ["Prime"]
    again = create_app(store=store, transport=transport, mode=mode, **options)
    async with again.router.lifespan_context(again):
        assert len((await again.state.flow_register.catalog()).flows) == 1


async def test_a_configured_source_may_start_after_the_panel(
    options: dict[str, Any], store: Any, transport: Any, mode: Any
) -> None:
    late = await Source(flow_app("Late")).start()
    await late.stop()
    options["register_flow"] = [late.openapi, "not an address"]
    panel = create_app(store=store, transport=transport, mode=mode, **options)
    async with panel.router.lifespan_context(panel):
        register = panel.state.flow_register
        await until(register.sources, lambda found: found and found[0].error)
        await late.start()
        catalog = await until(register.catalog, lambda catalog: catalog.flows)
        assert [flow.summary for flow in catalog.flows] == ["Late"]
    await late.stop()


async def test_sources_are_refreshed_in_the_background(
    options: dict[str, Any], serve: Any, store: Any, transport: Any, mode: Any
) -> None:
    source = await serve(flow_app("Before"))
    options["register_refresh"] = 0.05
    panel = create_app(store=store, transport=transport, mode=mode, **options)
    async with panel.router.lifespan_context(panel):
        register = panel.state.flow_register
        await register.register([source.openapi])
        await source.stop()
        await until(register.catalog, lambda catalog: catalog.flows[0].stale)
        source.app = flow_app("After")
        await source.start()
        await until(register.catalog, lambda catalog: catalog.flows[0].summary == "After")


async def test_of_two_processes_one_takes_a_source_that_is_due(
    options: dict[str, Any], serve: Any, store: Any, transport: Any, mode: Any
) -> None:
    asked = 0
    app = flow_app("Prime")

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        await app(scope, receive, send)

    source = await serve(counting)
    options["register_flow"] = [source.openapi]
    apps = [create_app(store=store, transport=transport, mode=mode, **options) for _ in range(3)]
    async with (
        apps[0].router.lifespan_context(apps[0]),
        apps[1].router.lifespan_context(apps[1]),
        apps[2].router.lifespan_context(apps[2]),
    ):
        for each in apps:
            await until(each.state.flow_register.catalog, lambda catalog: catalog.flows)
    assert asked == 1


async def test_a_redirect_to_another_host_is_not_followed(admin: Any, serve: Any) -> None:
    secret = await serve(flow_app("Secret"))
    evil = FastAPI(openapi_url=None)
    evil.get("/openapi.json")(lambda: RedirectResponse(secret.openapi.replace("127.0.0.1", "localhost")))
    evil.get("/port/openapi.json")(lambda: RedirectResponse(secret.openapi))
    evil.get("/file/openapi.json")(lambda: RedirectResponse("file:///etc/passwd"))
    evil.get("/loop/openapi.json")(lambda: RedirectResponse("/loop/openapi.json"))
    evil.get("/fine/openapi.json")(lambda: RedirectResponse("/real.json"))
    evil.get("/real.json")(lambda: flow_app("Fine").openapi())
    source = await serve(evil)
    for path in ("", "/port", "/file", "/loop"):
        answer = await admin.post("/flow/register", json={"url": f"{source.url}{path}/openapi.json"})
        assert answer.status_code == 400
        assert "redirect" in answer.json()["detail"] or "cannot be asked" in answer.json()["detail"]
    assert [flow["summary"] for flow in await register(admin, f"{source.url}/fine/openapi.json")] == ["Fine"]


async def test_a_document_is_bounded_in_size_and_time(admin: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 10_000)
    app = FastAPI(openapi_url=None)

    async def endless() -> Any:
        while True:
            yield b" " * 4096
            await asyncio.sleep(0)  # lets the server notice that nobody reads any more

    async def slow() -> None:
        await asyncio.Event().wait()

    app.get("/big/openapi.json")(lambda: StreamingResponse(endless()))
    app.get("/slow/openapi.json")(slow)
    app.get("/text/openapi.json")(lambda: PlainTextResponse("<html>"))
    app.get("/deep/openapi.json")(lambda: PlainTextResponse("[" * 5000))
    source = await serve(app)
    for path, reason in (("big", "larger"), ("slow", "did not answer"), ("text", "JSON"), ("deep", "JSON")):
        monkeypatch.setattr(fetch, "TIMEOUT_S", 0.2 if path == "slow" else 30.0)
        answer = await admin.post("/flow/register", json={"url": f"{source.url}/{path}/openapi.json"})
        assert answer.status_code == 400
        assert reason in answer.json()["detail"]


class TestAllowedHosts:
    @pytest.fixture
    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"register_allow": ["localhost"]}

    async def test_a_host_that_is_not_allowed_is_never_asked(self, admin: Any, serve: Any) -> None:
        source = await serve(flow_app("Prime"))
        answer = await admin.post("/flow/register", json={"url": source.openapi})
        assert answer.status_code == 400
        assert "KODO_REGISTER_ALLOW" in answer.json()["detail"]
        assert await register(admin, source.openapi.replace("127.0.0.1", "localhost"))


async def test_odd_values_in_an_openapi_document_are_no_error(admin: Any, serve: Any) -> None:
    app = FastAPI(openapi_url=None)
    operation = FLOW | {"summary": {"a": 1}, "tags": "x", "description": 5, "deprecated": "maybe", "x-author": [1]}
    paths = {"/": {"get": operation, "parameters": []}, "/x": None, "y": {"get": operation}, "/z": {"get": 3}}
    app.get("/openapi.json")(lambda: {"paths": paths})
    source = await serve(app)
    (flow,) = await register(admin, source.openapi)
    assert (flow["summary"], flow["tags"], flow["description"]) == ("/", [], "5")
    assert (await admin.get("/admin/flow")).status_code == 200


async def test_a_body_that_names_no_source_is_a_400(admin: Any) -> None:
    for body in ({}, {"url": None}, {"url": []}, {"url": [1]}, {"url": "x"}, {"url": ["http://"]}, 5):
        assert (await admin.post("/flow/register", json=body)).status_code == 400
