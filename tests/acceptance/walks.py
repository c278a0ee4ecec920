"""The examples that work with people, walked through as those do: by their clients, and on the pages."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from playwright.async_api import expect

from tests.acceptance.people import answer, listed, new_role, open_locks, uploaded
from tests.sse import read_stream

if TYPE_CHECKING:
    from playwright.async_api import Page

expect.set_options(timeout=60_000)

PURCHASE = {"purpose": "A printing press", "amount": 5000, "patience": 600}


def launched(client: httpx.Client, url: str, fields: dict[str, object]) -> str:
    """Starts a run."""
    response = client.post(url, json=fields)
    assert response.status_code == 200, response.text
    fid: str = response.json()["result"]
    return fid


def final(client: httpx.Client, fid: str) -> dict[str, object]:
    """The result of a run, once it has ended."""
    read_stream(client, f"/outputs/stream/{fid}?extended=true")
    result: dict[str, object] = client.get(f"/outputs/raw/{fid}").raise_for_status().json()["dict"]
    return result


def a_large_purchase_needs_somebody_else(admin: httpx.Client, url: str) -> None:
    """``approval``: the buyer confirms, a stranger sees nothing, the release needs a second pair of eyes."""
    with closing(new_role(admin, "buyer")) as buyer, closing(new_role(admin, "stranger")) as stranger:
        fid = launched(buyer, url, PURCHASE)
        (confirm,) = open_locks(buyer, fid)
        assert stranger.get(f"/lock/{fid}/{confirm}").status_code == 404
        assert answer(stranger, fid, confirm, limit=5000).status_code == 404
        refused = answer(buyer, fid, confirm, limit=10)
        assert refused.json()["errors"]["limit"] == ["It costs 5000: allow that much, or nothing."]
        assert answer(buyer, fid, confirm, limit=6000, note="Go on.").status_code == 200

        (release,) = open_locks(buyer, fid, answered=[confirm])
        assert answer(buyer, fid, release, released=True).status_code == 403
        assert answer(admin, fid, release, released=True).status_code == 200

        assert final(buyer, fid) == {"bought": True, "note": "Go on."}


def a_purchase_that_nobody_confirms_is_not_made(admin: httpx.Client, url: str) -> None:
    """``approval``: its timeout."""
    fid = launched(admin, url, {**PURCHASE, "patience": 1})

    assert final(admin, fid) == {"bought": False, "why": "nobody answered in time"}


def a_paid_job_pays_and_asks_once(admin: httpx.Client, url: str) -> None:
    """``durable``: its first attempt fails after it paid and was answered; the second one does neither again."""
    fid = launched(admin, url, {"subject": "Rivers", "seconds": 0.1, "patience": 600, "trouble": True})
    (lid,) = open_locks(admin, fid)
    assert answer(admin, fid, lid, direction="at length").status_code == 200

    assert final(admin, fid) == {"attempts": 2, "direction": "at length", "paid": 40}
    events = read_stream(admin, f"/outputs/stream/{fid}?extended=true")
    assert [event.kind for event in events].count("lock") == 1
    (attempt,) = (json.loads(event.payload)["dict"] for event in events if event.kind == "attempt")
    assert attempt["number"] == 2
    assert "durable.service.Busy" in attempt["reason"]
    orders = [json.loads(event.payload)["dict"] for event in events if event.kind == "action"]
    assert [(order["step"], order["attempt"], order["charged"]) for order in orders] == [
        ("research", 1, True),
        ("research", 2, False),
        ("article", 2, True),
    ]


async def a_user_answers_on_the_page_of_the_run(page: Page, url: str) -> None:
    """``approval``: from the form to the answer, with a mistake in between."""
    await page.goto(f"/inputs{url}")
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


async def a_user_sends_files_and_finds_reports(page: Page, url: str, folder: Path) -> None:
    """``documents``: three files, one of several chunks, and a report to take home."""
    (folder / "one.txt").write_text("one two three\nfour\n")
    (folder / "äö ü.txt").write_text("")
    (folder / "long.txt").write_text("word " * 1_000_000)
    await page.goto(f"/inputs{url}")
    await page.get_by_label("Text files").set_input_files(sorted(folder.glob("*.txt")))
    await page.get_by_role("button", name="Read").click()

    await page.wait_for_url("**/admin/status/view/*")
    await expect(page.locator("#run-state")).to_have_text("finished")
    await page.get_by_role("tab", name="Files").click()
    await expect(page.locator("#files-in tbody tr")).to_have_count(3)
    await expect(page.locator("#files-out tbody tr")).to_have_count(3)
    async with page.expect_download() as begun:
        await page.get_by_role("link", name="one.txt.report.txt").click()
    report = await (await begun.value).path()
    assert report.read_text() == "lines: 2\nwords: 4\ncharacters: 19\n"


def documents_are_read_by_tasks(admin: httpx.Client, url: str) -> None:
    """``documents``: the same by API, and the archive."""
    documents = uploaded(admin, {"a.txt": b"a b", "b.txt": b"c\nd"}, "documents")

    fid = launched(admin, url, {"documents": documents, "text": "e f g"})

    found = final(admin, fid)
    assert found["a.txt"] == {"lines": 1, "words": 2, "characters": 3}
    assert found["text"] == {"lines": 1, "words": 3, "characters": 5}
    assert set(listed(admin, fid, "out")) == {"out/a.txt.report.txt", "out/b.txt.report.txt"}
    archive = admin.get(f"/files/{fid}/out", params={"format": "zip"})
    assert archive.content.startswith(b"PK")
    (upload,) = [event.payload for event in read_stream(admin, f"/outputs/stream/{fid}") if event.kind == "upload"]
    assert [file["path"] for file in json.loads(upload)["Upload"]["files"]] == ["in/a.txt", "in/b.txt"]
