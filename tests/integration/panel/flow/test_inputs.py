"""The form page of a flow: shown, sent, and shown again with what is wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from kodosumi import forms
from tests.integration.panel.flow.apps import FID, FLOW, Source, register

BROWSER = {"Accept": "text/html,application/xhtml+xml"}

MODEL = forms.Model(
    forms.Markdown("# Calculator"),
    forms.InputText(name="title", label="Title"),
    forms.InputNumber(name="tasks", label="Tasks"),
    forms.InputPassword(name="secret", label="Secret"),
    forms.Checkbox(name="active", option="On", label="Active"),
    forms.Select(name="kind", option=[forms.InputOption("a", "A"), forms.InputOption("b", "B")]),
    forms.InputArea(name="text", label="Text"),
    forms.Submit("Run"),
)


def form_app() -> FastAPI:
    app = FastAPI()
    app.state.bodies = []
    app.state.answer = JSONResponse({"result": FID, "elements": []}, headers={"kodosumi_launch": FID})

    @app.get("/", summary="Calculator", openapi_extra=FLOW)
    def form() -> dict[str, Any]:
        return {"elements": MODEL.get_model(), "summary": "Calculator"}

    @app.post("/")
    async def submit(request: Request) -> Any:
        app.state.bodies.append(await request.json())
        return app.state.answer

    app.get("/text", openapi_extra=FLOW)(lambda: PlainTextResponse("<b>plain</b>"))
    app.get("/moved")(lambda: RedirectResponse("/"))
    app.get("/away")(lambda: RedirectResponse("https://elsewhere.example/"))
    return app


@pytest.fixture
async def source(admin: Any, serve: Any) -> Source:
    source: Source = await serve(form_app())
    await register(admin, source.openapi)
    return source


def page_of(source: Source, path: str = "") -> str:
    return f"/inputs{source.place}/{path}"


async def test_the_elements_of_an_app_are_a_form(alice: Any, source: Source) -> None:
    answer = await alice.get(page_of(source), headers=BROWSER)
    assert answer.status_code == 200
    assert 'method="post"' in answer.text
    for text in ("Calculator", 'name="title"', 'name="tasks"', "Run"):
        assert text in answer.text


async def test_a_sent_form_reaches_the_app_as_json_and_leads_to_the_run(alice: Any, source: Source) -> None:
    fields = {"title": "Größe", "tasks": "12", "active": "on", "kind": "b", "text": "one\r\ntwo", "more": ["1", "2"]}
    parts = [(name, (None, each)) for name, value in fields.items() for each in ([value] if name != "more" else value)]
    for body in ({"data": fields}, {"files": parts}):
        answer = await alice.post(page_of(source), **body)
        assert answer.status_code == 302
        assert answer.headers["location"] == f"/admin/status/view/{FID}"
    assert source.app.state.bodies == [fields | {"text": "one\ntwo"}] * 2


async def test_errors_show_at_their_fields_and_keep_what_was_entered_but_passwords(alice: Any, source: Source) -> None:
    errors = {"tasks": ["Too <many>"], "_global_": ["Not today"]}
    filled = [
        element | ({"value": "hunter2"} if element.get("name") == "secret" else {}) for element in MODEL.get_model()
    ]
    source.app.state.answer = JSONResponse({"errors": errors, "elements": filled})
    fields = {"title": '"><script>x</script>', "tasks": "999", "secret": "hunter2", "kind": "b", "text": "kept"}
    answer = await alice.post(page_of(source), data=fields)
    assert answer.status_code == 200
    for text in ("Too &lt;many&gt;", "Not today", 'value="999"', "kept", "&quot;&gt;&lt;script&gt;"):
        assert text in answer.text
    assert "hunter2" not in answer.text
    assert "<script>x" not in answer.text
    assert "no-store" in answer.headers["cache-control"]


async def test_another_status_is_passed_on_with_the_form_and_what_was_entered(alice: Any, source: Source) -> None:
    for status in (400, 401, 403, 404, 409, 422, 500, 503):
        source.app.state.answer = JSONResponse({"detail": "Nobody <is> home"}, status)
        answer = await alice.post(page_of(source), data={"title": "kept"}, headers=BROWSER)
        assert answer.status_code == status
        assert "Nobody &lt;is&gt; home" in answer.text
        assert 'value="kept"' in answer.text
    assert (await alice.get("/flow")).status_code == 200


async def test_a_result_that_is_no_execution_leads_nowhere(alice: Any, source: Source) -> None:
    for result in ("//evil.example", "../x", 5, None, {"a": 1}, FID + "x"):
        source.app.state.answer = JSONResponse({"result": result})
        answer = await alice.post(page_of(source), data={})
        assert answer.status_code == 200
        assert "location" not in answer.headers


async def test_odd_answers_of_an_app_are_no_error_of_the_panel(alice: Any, source: Source) -> None:
    odd_elements = [None, "text", [1, None, "x"], [{"type": 5}], [{"type": "text", "name": {"a": 1}}], [{}] * 3]
    odd_errors = [{}, {"a": 5}, {"title": [1, None]}, {"_global_": "text"}]
    for elements, errors in itertools.product(odd_elements, odd_errors):
        source.app.state.answer = JSONResponse({"errors": errors, "elements": elements})
        answer = await alice.post(page_of(source), data={"title": "x"})
        assert answer.status_code in (200, 502)


async def test_what_is_no_form_is_shown_as_text(alice: Any, source: Source) -> None:
    answer = await alice.get(page_of(source, "text"), headers=BROWSER)
    assert (answer.status_code, "&lt;b&gt;plain&lt;/b&gt;" in answer.text) == (200, True)
    answer = await alice.get(page_of(source, "unknown"), headers=BROWSER)
    assert (answer.status_code, "Not Found" in answer.text) == (404, True)


async def test_a_redirect_within_the_app_leads_to_the_forms_page(alice: Any, source: Source) -> None:
    answer = await alice.get(page_of(source, "moved"))
    assert answer.headers["location"] == page_of(source)
    away = await alice.get(page_of(source, "away"), headers=BROWSER)
    assert "location" not in away.headers


async def test_an_app_that_is_down_is_said_on_the_page(alice: Any, source: Source) -> None:
    await source.stop()
    answer = await alice.get(page_of(source), headers=BROWSER)
    assert answer.status_code == 502
    assert "cannot be reached" in answer.text
    answer = await alice.post(page_of(source), data={"title": "kept"}, headers=BROWSER)
    assert answer.status_code == 502


async def test_an_unknown_app_is_a_404_as_page_and_as_json(alice: Any) -> None:
    assert "No app is registered" in (await alice.get("/inputs/-/localhost/1/-/", headers=BROWSER)).text
    assert (await alice.get("/inputs/-/localhost/1/-/")).json()["status_code"] == 404


async def test_a_broken_form_is_a_400(alice: Any, source: Source) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await alice.post(page_of(source), content=b"--x\r\nbroken", headers=headers)
    assert answer.status_code in (400, 302)
    files = {"upload": ("name.txt", b"content")}
    assert (await alice.post(page_of(source), files=files)).status_code == 400


async def test_nobody_and_no_other_site_sends_a_form(client: Any, alice: Any, source: Source) -> None:
    assert (await client.post(page_of(source), data={})).status_code == 401
    assert (await client.get(page_of(source), headers=BROWSER)).headers["location"] == "/"
    answer = await alice.post(page_of(source), data={}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert source.app.state.bodies == []
