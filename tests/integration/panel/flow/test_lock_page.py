"""The form page of a lock: shown, sent, shown again with what is wrong, and what it says when it is too late."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import JSONResponse

from kodosumi import forms
from kodosumi.service.context import Panel
from tests.integration.panel.flow.apps import FLOW, Source, register
from tests.integration.panel.flow.lock_app import Waiting, lock_app

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def source(admin: Any, serve: Any) -> Source:
    app = lock_app()
    model = forms.Model(forms.InputFiles(name="papers", label="Papers", multiple=True), forms.Submit("Go"))
    app.get("/files", summary="Files", openapi_extra=FLOW)(lambda: {"elements": model.get_model()})
    source: Source = await serve(app)
    await register(admin, source.openapi)
    return source


def page_of(run: Waiting, lid: str) -> str:
    return f"/inputs/lock/{run.fid}/{lid}"


async def test_a_sent_form_is_the_answer_and_leads_to_the_run(alice: Any, run: Waiting, source: Source) -> None:
    lid = await run.lock()
    page = await alice.get(page_of(run, lid), headers=BROWSER)
    assert page.status_code == 200
    for text in ('name="comment"', "My run", "approve", 'method="post"'):
        assert text in page.text
    answer = await alice.post(page_of(run, lid), data={"comment": "one\r\ntwo", "approve": "on"})
    assert (answer.status_code, answer.headers["location"]) == (302, f"/admin/status/view/{run.fid}")
    assert source.app.state.answers == [{"comment": "one\ntwo", "approve": "on"}]


async def test_errors_show_at_their_fields_and_keep_what_was_entered(alice: Any, run: Waiting) -> None:
    answer = await alice.post(page_of(run, await run.lock()), data={"comment": "", "approve": "on"}, headers=BROWSER)
    assert answer.status_code == 200
    for text in ("Say &lt;why&gt;.", "checked"):
        assert text in answer.text


async def test_an_app_that_fails_keeps_what_was_entered(alice: Any, run: Waiting, source: Source) -> None:
    source.app.state.next = JSONResponse({"detail": "Out of <luck>"}, 500)
    answer = await alice.post(page_of(run, await run.lock()), data={"comment": "precious"}, headers=BROWSER)
    assert answer.status_code == 500
    for text in ("Out of &lt;luck&gt;", 'value="precious"'):
        assert text in answer.text


async def test_who_may_answer_but_not_see_the_run_gets_thanks_and_no_link(bob: Any, run: Waiting) -> None:
    lid = await run.lock(assignee=["bob"])
    page = await bob.get(page_of(run, lid), headers=BROWSER)
    assert page.status_code == 200
    assert "My run" not in page.text and "/admin/status" not in page.text
    answer = await bob.post(page_of(run, lid), data={"comment": "good <b>"}, headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (302, page_of(run, lid))
    await run.lease(lid, by=bob.id, result={"comment": "good <b>"})
    thanks = await bob.get(page_of(run, lid), headers=BROWSER)
    assert thanks.status_code == 200
    assert "You answered at" in thanks.text and "good &lt;b&gt;" in thanks.text
    assert "My run" not in thanks.text and "/admin/status" not in thanks.text


async def test_a_lock_that_somebody_answered_says_who_and_when_but_not_what(
    alice: Any, admin: Any, run: Waiting
) -> None:
    lid = await run.lock()
    await run.lease(lid, by=admin.id, at=1_800_000_000.0, result="the secret")
    for method, status in (("GET", 200), ("POST", 409)):
        page = await alice.request(method, page_of(run, lid), headers=BROWSER)
        assert page.status_code == status
        assert "already answered by admin at <time" in page.text and "2027-01-15 08:00:00 UTC" in page.text
        assert "the secret" not in page.text and "inputs-form" not in page.text


async def test_an_answer_that_comes_a_moment_too_late_is_told_so(
    alice: Any, admin: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock()
    source.app.state.open.discard(lid)  # the run has its answer, the store hasn't yet
    page = await alice.post(page_of(run, lid), data={"comment": "x"}, headers=BROWSER)
    assert page.status_code == 409
    assert "answered or has expired just now" in page.text
    await run.lease(lid, by=admin.id)
    assert "already answered by admin" in (await alice.get(page_of(run, lid), headers=BROWSER)).text


async def test_who_may_not_answer_is_told_no_more_than_anybody(
    client: Any, alice: Any, bob: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock(four_eyes=True)
    for method in ("GET", "POST"):
        own = await alice.request(method, page_of(run, lid), headers=BROWSER)
        assert (own.status_code, "second pair of eyes" in own.text) == (403, True)
        other = await bob.request(method, page_of(run, lid), headers=BROWSER)
        assert (other.status_code, "My run" in other.text) == (404, False)
        assert (await bob.request(method, page_of(run, lid))).json()["status_code"] == 404
        assert (await client.request(method, page_of(run, lid))).status_code == 401
    foreign = {"Origin": "https://evil.example"}
    assert (await alice.post(page_of(run, lid), data={}, headers=foreign)).status_code == 403
    assert source.app.state.seen == []


async def test_an_app_that_is_not_registered_is_said_on_the_page(panel: Panel, alice: Any, source: Source) -> None:
    run = await Waiting(panel, alice.id, source).begin(app_url="http://127.0.0.1:1")
    lid = await run.lock()
    for method in ("GET", "POST"):
        page = await alice.request(method, page_of(run, lid), headers=BROWSER)
        assert (page.status_code, "is not registered" in page.text) == (502, True)


async def test_files_in_a_form_are_refused_with_what_to_do(alice: Any, run: Waiting) -> None:
    answer = await alice.post(page_of(run, await run.lock()), files={"papers": ("a.txt", b"x")})
    assert (answer.status_code, "/files/init" in answer.json()["detail"]) == (400, True)


async def test_a_form_with_files_has_the_script_that_uploads_them(alice: Any, source: Source, panel: Panel) -> None:
    page = (await alice.get(f"/inputs{source.place}/files", headers=BROWSER)).text
    assert f'data-chunk-bytes="{panel.settings.save_chunk_size}"' in page
    assert "/static/files.js" in page
    assert "files.js" not in (await alice.get(f"/inputs{source.place}/", headers=BROWSER)).text
