"""The examples that work with people, as those see them: a purchase that waits for two, documents in and out."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.async_api import expect

from tests.acceptance.people import answer, listed, new_role, open_locks, uploaded
from tests.acceptance.test_walk_through import log_in
from tests.sse import read_stream

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.browser

PURCHASE = {"purpose": "A printing press", "amount": 5000, "patience": 600}


def launched(client: httpx.Client, url: str, fields: dict[str, object]) -> str:
    """Starts a run."""
    response = client.post(url, json=fields)
    assert response.status_code == 200, response.text
    fid: str = response.json()["result"]
    return fid


def final(client: httpx.Client, fid: str) -> dict[str, object]:
    """The result of a run, once it has ended."""
    read_stream(client, f"/outputs/stream/{fid}")
    result: dict[str, object] = client.get(f"/outputs/raw/{fid}").raise_for_status().json()["dict"]
    return result


def test_a_large_purchase_needs_somebody_else(admin: httpx.Client, flows: dict[str, str]) -> None:
    with closing(new_role(admin, "buyer")) as buyer, closing(new_role(admin, "stranger")) as stranger:
        fid = launched(buyer, flows["Approval"], PURCHASE)
        (confirm,) = open_locks(buyer, fid)
        assert stranger.get(f"/lock/{fid}/{confirm}").status_code == 404
        assert answer(stranger, fid, confirm, limit=5000).status_code == 404
        refused = answer(buyer, fid, confirm, limit=10)
        assert refused.json()["errors"]["limit"] == ["It costs 5000: allow that much, or nothing."]
        assert answer(buyer, fid, confirm, limit=6000, note="Go on.").status_code == 200

        (release,) = open_locks(buyer, fid)
        own = answer(buyer, fid, release, released=True)
        assert own.status_code == 403
        assert answer(admin, fid, release, released=True).status_code == 200

        assert final(buyer, fid) == {"bought": True, "note": "Go on."}


def test_a_purchase_that_nobody_confirms_is_not_made(admin: httpx.Client, flows: dict[str, str]) -> None:
    fid = launched(admin, flows["Approval"], {**PURCHASE, "patience": 1})

    assert final(admin, fid) == {"bought": False, "why": "nobody answered in time"}


async def test_a_user_answers_on_the_page_of_the_run(page: Page, flows: dict[str, str]) -> None:
    await log_in(page)
    await page.goto(f"/inputs{flows['Approval']}")
    await page.get_by_role("button", name="Ask").click()
    await page.wait_for_url("**/admin/status/view/*")
    run = page.url
    await expect(page.locator("#run-state")).to_have_text("awaiting")

    await page.get_by_role("link", name="Answer confirm").click()
    await page.get_by_label("At most").fill("5")
    await page.get_by_label("Note").fill("as cheap as can be")
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_text("It costs 120: allow that much, or nothing.")).to_be_visible()
    await expect(page.get_by_label("Note")).to_have_value("as cheap as can be")
    await page.get_by_label("At most").fill("120")
    await page.get_by_role("button", name="Confirm").click()

    await page.wait_for_url(run)
    await expect(page.locator("#run-state")).to_have_text("finished")
    await expect(page.get_by_text("as cheap as can be").first).to_be_visible()
    await expect(page.locator("#run-answers")).to_contain_text("answered by admin")


async def test_a_user_sends_files_and_finds_reports(page: Page, flows: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("one two three\nfour\n")
    (tmp_path / "äö ü.txt").write_text("")
    (tmp_path / "long.txt").write_text("word " * 1_000_000)
    await log_in(page)
    await page.goto(f"/inputs{flows['Documents']}")
    await page.get_by_label("Text files").set_input_files(sorted(tmp_path.glob("*.txt")))
    await page.get_by_role("button", name="Read").click()

    await page.wait_for_url("**/admin/status/view/*")
    await expect(page.locator("#run-state")).to_have_text("finished", timeout=60_000)
    await page.get_by_role("tab", name="Files").click()
    await expect(page.locator("#files-in tbody tr")).to_have_count(3)
    await expect(page.locator("#files-out tbody tr")).to_have_count(3)
    async with page.expect_download() as begun:
        await page.get_by_role("link", name="one.txt.report.txt").click()
    report = await (await begun.value).path()
    assert report.read_text() == "lines: 2\nwords: 4\ncharacters: 19\n"


def test_documents_are_read_by_tasks(admin: httpx.Client, flows: dict[str, str]) -> None:
    documents = uploaded(admin, {"a.txt": b"a b", "b.txt": b"c\nd"}, "documents")

    fid = launched(admin, flows["Documents"], {"documents": documents, "text": "e f g"})

    found = final(admin, fid)
    assert found["a.txt"] == {"lines": 1, "words": 2, "characters": 3}
    assert found["text"] == {"lines": 1, "words": 3, "characters": 5}
    assert set(listed(admin, fid, "out")) == {"out/a.txt.report.txt", "out/b.txt.report.txt"}
    archive = admin.get(f"/files/{fid}/out", params={"format": "zip"})
    assert archive.content.startswith(b"PK")
    events = read_stream(admin, f"/outputs/stream/{fid}")
    assert [json.loads(event.payload)["Upload"]["files"][0]["path"] for event in events if event.kind == "upload"] == [
        "in/a.txt"
    ]


def test_the_documents_form_asks_for_something(admin: httpx.Client, flows: dict[str, str]) -> None:
    response = admin.post(flows["Documents"], json={})

    assert response.json()["errors"]["documents"] == ["Choose a file, or write a text."]
