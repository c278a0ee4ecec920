"""The pages of flows and of their sources."""

from __future__ import annotations

from typing import Any

from tests.integration.panel.flow.apps import Source, flow_app, register

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 1234567*89 }}'


async def test_the_flows_are_listed_with_links_to_their_forms(admin: Any, alice: Any, serve: Any) -> None:
    assert "No flows yet" in (await alice.get("/admin/flow")).text
    source = await serve(flow_app("Prime", tags=["math"]))
    await register(admin, source.openapi)
    page = await alice.get("/admin/flow")
    assert page.status_code == 200
    assert f'href="/inputs{source.place}/0"' in page.text
    assert "/admin/flow?q=math" in page.text
    assert "No flow matches" in (await alice.get("/admin/flow?q=other")).text


async def test_flows_come_in_pages_and_a_lost_offset_is_the_first_page(admin: Any, serve: Any) -> None:
    source = await serve(flow_app(*(f"Flow {number:02}" for number in range(30))))
    await register(admin, source.openapi)
    first = (await admin.get("/admin/flow")).text
    assert "Flow 24" in first and "Flow 25" not in first and "Next page" in first
    offset = first.split("offset=")[1].split('"')[0]
    second = (await admin.get(f"/admin/flow?offset={offset}")).text
    assert "Flow 25" in second and "Flow 24" not in second and "Next page" not in second
    assert "Flow 00" in (await admin.get("/admin/flow?offset=gone")).text


async def test_a_flow_whose_app_is_down_is_marked(admin: Any, serve: Any) -> None:
    source = await serve(flow_app("Prime", deprecated=True))
    await register(admin, source.openapi)
    await source.stop()
    await admin.put("/flow/register")
    page = (await admin.get("/admin/flow")).text
    assert 'data-state="stale"' in page and "deprecated" in page
    assert "cannot be reached" in (await admin.get("/admin/routes")).text


async def test_what_an_author_wrote_is_text(admin: Any, serve: Any) -> None:
    words = {"description": EVIL, "tags": [EVIL], "x-author": EVIL, "x-organization": EVIL}
    source = await serve(flow_app(EVIL, **words))
    (flow,) = await register(admin, source.openapi)
    for path in ("/admin/flow", f"/admin/flow?q={EVIL}", f"/inputs{flow['url']}", "/admin/routes"):
        page = await admin.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "<script>alert" not in page.text and "<img src=x" not in page.text and "109876463" not in page.text
        assert "script-src" not in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]


async def test_an_operator_saves_the_list_of_sources(admin: Any, serve: Any) -> None:
    one, two = await serve(flow_app("One")), await serve(flow_app("Two"))
    saved = await admin.post("/admin/routes", data={"routes": f"{one.openapi}\r\n\r\n {two.openapi} \r\n"})
    assert (saved.status_code, saved.headers["location"]) == (303, "/admin/routes?saved=routes")
    assert set((await admin.get("/flow/register")).json()["routes"]) == {one.openapi, two.openapi}
    await admin.post("/admin/routes", data={"routes": two.openapi})
    assert (await admin.get("/flow/register")).json()["routes"] == [two.openapi]
    page = (await admin.get("/admin/routes?saved=routes")).text
    assert "The sources are saved." in page and two.openapi in page


async def test_a_source_that_is_down_is_said_and_the_others_are_saved(admin: Any, serve: Any) -> None:
    one, gone = await serve(flow_app("One")), await Source(flow_app("Gone")).start()
    await gone.stop()
    answer = await admin.post("/admin/routes", data={"routes": f"{gone.openapi}\n{one.openapi}\nnonsense"})
    assert answer.status_code == 400
    assert "cannot be reached" in answer.text and "nonsense" in answer.text
    assert (await admin.get("/flow/register")).json()["routes"] == [one.openapi]


async def test_a_user_sees_and_saves_no_sources(alice: Any) -> None:
    assert 'name="routes"' not in (await alice.get("/admin/routes")).text
    assert (await alice.post("/admin/routes", data={"routes": ""})).status_code == 403


async def test_everybody_changes_their_own_password_and_stays_logged_in(alice: Any, client: Any) -> None:
    differ = await alice.post("/admin/routes", data={"new_password1": "one", "new_password2": "two"})
    assert (differ.status_code, "differ" in differ.text) == (400, True)
    fields = {"new_password1": "new secret", "new_password2": "new secret"}
    saved = await alice.post("/admin/routes", data=fields)
    assert (saved.status_code, saved.headers["location"]) == (303, "/admin/routes?saved=password")
    assert (await alice.get("/flow")).status_code == 200
    login = await client.post("/api/login", json={"name": "alice", "password": "new secret"})
    assert login.status_code == 200
    assert "new secret" not in (await alice.get("/admin/routes")).text


async def test_everybody_changes_their_own_email(alice: Any, bob: Any) -> None:
    assert (await alice.post("/admin/routes", data={"email": "new@example.com"})).status_code == 303
    assert (await alice.get("/role/me")).json()["email"] == "new@example.com"
    wrong = await alice.post("/admin/routes", data={"email": "no address"})
    assert (wrong.status_code, 'value="no address"' in wrong.text) == (400, True)
    assert (await bob.post("/admin/routes", data={"email": "new@example.com"})).status_code == 409


async def test_an_empty_form_says_what_to_send(alice: Any) -> None:
    assert (await alice.post("/admin/routes", data={})).status_code == 400
    answer = await alice.post("/admin/routes", data={}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
