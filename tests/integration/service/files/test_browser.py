"""Files in a browser: chosen in a form, uploaded in chunks, found on the run's page, downloaded."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from kodosumi import forms as F
from kodosumi.core import InputsError
from kodosumi.events import Event, EventKind
from kodosumi.service.context import Panel
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.flow.apps import Source, register
from tests.integration.panel.flow.conftest import registered, serve
from tests.integration.panel.flow.test_app_behind_panel import app_with_files, source
from tests.integration.service.files.uploading import put

__all__ = ["registered", "serve", "source"]

pytestmark = pytest.mark.browser

CONTENT = bytes(range(256)) * 4_000


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"save_chunk_size": 100_000, "upload_quota": 5_000_000}


@pytest.fixture
async def page(address: str, alice: Any, chromium: Browser) -> AsyncIterator[Page]:
    """A page of a browser in which Alice is logged in; no script may fail in it, nothing may be blocked."""
    context = await chromium.new_context(base_url=address)
    await context.add_cookies([{"name": "kodosumi_jwt", "value": alice.key, "url": address}])
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None)
    yield page
    await context.close()
    assert not problems


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, Path]:
    """Files to choose, by name."""
    folder = tmp_path / "chosen"
    (folder / "sub").mkdir(parents=True)
    made = {"large.bin": CONTENT, "ä & b.txt": b"small", "empty": b"", "sub/deep.txt": b"deep"}
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in made}


def go(page: Page) -> Locator:
    """The button that sends the form."""
    return page.get_by_role("button", name="go", exact=True)


async def test_chosen_files_are_the_runs_own_and_are_found_on_its_page(
    page: Page, source: Source, chosen: dict[str, Path], alice: Any, tmp_path: Path
) -> None:
    await page.goto(f"/inputs{source.place}/")
    await page.locator("input[name=one]").set_input_files(chosen["large.bin"])
    await page.locator("input[name=many]").set_input_files([chosen["ä & b.txt"], chosen["empty"]])
    await go(page).click()
    await page.wait_for_url("**/admin/status/view/*")
    fid = page.url.rpartition("/")[2]
    listed = (await alice.get(f"/files/{fid}/in")).json()
    assert {file["path"]: file["size"] for file in listed} == {
        "in/large.bin": len(CONTENT),
        "in/empty": 0,
        "in/ä & b.txt": 5,
    }
    assert (await alice.get(f"/files/{fid}/in/large.bin")).content == CONTENT

    await page.get_by_role("tab", name="Files").click()
    rows = page.locator("#files-in tbody tr")
    await expect(rows).to_have_count(3)
    await expect(page.locator("#files-out")).to_be_hidden()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="ä & b.txt").click()
    saved = await (await download.value).path()
    assert (await download.value).suggested_filename == "ä & b.txt" and saved.read_bytes() == b"small"
    async with page.expect_download() as download:
        await page.locator("#files-in").get_by_role("link", name="All as ZIP").click()
    with zipfile.ZipFile(await (await download.value).path()) as archive:
        assert archive.read("large.bin") == CONTENT


async def test_a_form_that_comes_back_with_errors_keeps_its_uploads(
    page: Page, source: Source, chosen: dict[str, Path], alice: Any
) -> None:
    await page.goto(f"/inputs{source.place}/")
    await page.locator("input[name=one]").set_input_files(chosen["large.bin"])
    await page.locator("input[name=text]").fill("bad")
    await go(page).click()
    await expect(page.locator(".upload-kept")).to_contain_text("large.bin")
    await page.locator("input[name=text]").fill("good")
    await go(page).click()
    await page.wait_for_url("**/admin/status/view/*")
    listed = (await alice.get(f"/files/{page.url.rpartition('/')[2]}/in")).json()
    assert [file["path"] for file in listed] == ["in/large.bin"]

    await page.goto(f"/inputs{source.place}/")
    await expect(page.locator("input[name=one]")).to_be_visible()
    await expect(page.locator(".upload-kept")).to_have_count(0)


async def test_uploads_that_were_kept_can_be_chosen_again(
    page: Page, source: Source, chosen: dict[str, Path], alice: Any
) -> None:
    await page.goto(f"/inputs{source.place}/")
    await page.locator("input[name=one]").set_input_files(chosen["large.bin"])
    await page.locator("input[name=text]").fill("bad")
    await go(page).click()
    await page.get_by_role("button", name="Choose again").click()
    await page.locator("input[name=one]").set_input_files(chosen["empty"])
    await page.locator("input[name=text]").fill("good")
    await go(page).click()
    await page.wait_for_url("**/admin/status/view/*")
    listed = (await alice.get(f"/files/{page.url.rpartition('/')[2]}/in")).json()
    assert [file["path"] for file in listed] == ["in/empty"]


async def test_chunks_that_break_off_are_sent_again(
    page: Page, source: Source, chosen: dict[str, Path], alice: Any
) -> None:
    broken = 0

    async def breaks(route: Route) -> None:
        nonlocal broken
        if broken < 3:
            broken += 1
            await (route.abort() if broken < 3 else route.fulfill(status=503, body="{}"))
        else:
            await route.continue_()

    await page.route("**/files/chunk", breaks)
    await page.goto(f"/inputs{source.place}/")
    await page.locator("input[name=one]").set_input_files(chosen["large.bin"])
    await go(page).click()
    await page.wait_for_url("**/admin/status/view/*")
    assert broken == 3
    content = await alice.get(f"/files/{page.url.rpartition('/')[2]}/in/large.bin")
    assert content.content == CONTENT


async def test_an_upload_shows_how_far_it_is_and_can_be_cancelled(
    page: Page, source: Source, chosen: dict[str, Path], panel: Panel, alice: Any
) -> None:
    may = asyncio.Event()

    async def held(route: Route) -> None:
        await may.wait()
        await route.continue_()

    await page.goto(f"/inputs{source.place}/")
    await page.locator("input[name=one]").set_input_files(chosen["large.bin"])
    await page.route("**/files/chunk", held)
    await go(page).click()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await expect(page.get_by_role("status")).to_contain_text("of 1.0 MB, 0 of 1 file")
    await expect(go(page)).to_be_disabled()
    await page.get_by_role("button", name="Cancel the upload").click()
    await expect(page.get_by_role("alert")).to_have_text("The upload was cancelled. Nothing was sent.")
    await expect(go(page)).to_be_enabled()
    await until(lambda: panel.uploads.list(alice.id), lambda found: not found)
    may.set()
    await go(page).click()
    await page.wait_for_url("**/admin/status/view/*")


async def test_a_refusal_is_shown_in_place_and_nothing_is_sent(
    page: Page, source: Source, alice: Any, panel: Panel, tmp_path: Path
) -> None:
    large = tmp_path / "too large.bin"
    large.write_bytes(bytes(6_000_000))
    await page.goto(f"/inputs{source.place}/")
    await page.locator("input[name=text]").fill("kept")
    await page.locator("input[name=one]").set_input_files(large)
    await go(page).click()
    await expect(page.get_by_role("alert")).to_contain_text("too large.bin: ")
    await expect(page.get_by_role("alert")).to_contain_text("KODO_UPLOAD_QUOTA")
    await expect(page.locator("input[name=text]")).to_have_value("kept")
    # What was refused is given back to the quota.
    await until(lambda: panel.uploads.list(alice.id), lambda found: not found)


async def test_a_lock_takes_files_too(
    page: Page, source: Source, chosen: dict[str, Path], alice: Any, panel: Panel
) -> None:
    fid = (await alice.post(f"{source.place}/", json={})).json()["result"]
    execution = await until(lambda: panel.store.execution(fid), lambda found: found.locks)
    await page.goto(f"/inputs/lock/{fid}/{execution.locks[0]}")
    await page.locator("input[name=files]").set_input_files(chosen["large.bin"])
    await go(page).click()
    await page.wait_for_url("**/admin/status/view/*")
    ended = await until(lambda: panel.store.execution(fid), lambda found: found.state.terminal)
    assert ended.state == "finished"
    assert (await alice.get(f"/files/{fid}/in/large.bin")).content == CONTENT


async def test_the_list_of_files_is_live_and_bounded(
    page: Page, run: str, alice: Any, panel: Panel, store: MemoryExecutionStore, transport: MemoryTransport
) -> None:
    await page.goto(f"/admin/status/view/{run}")
    await page.get_by_role("tab", name="Files").click()
    await expect(page.locator("#files-empty")).to_have_text("No files yet.")
    hostile = "<img src=x onerror=alert(1)>.txt"
    await put(alice, run, f"out/{hostile}", b"x")
    folder = panel.files.local(f"{alice.id}/{run}/in")
    assert folder is not None
    folder.mkdir(parents=True)
    for number in range(1_005):
        (folder / f"{number:04}").write_bytes(b"")
    await transport.producer(run, alice.id).put([Event.now(EventKind.STATUS, "finished")])
    for delivery in await (consumer := transport.consumer()).take(10, 10.0):
        await store.append(delivery.fid, delivery.username, delivery.batches)
        await consumer.ack({delivery.fid: delivery.batches[-1].position})
    await expect(page.locator("#files-out tbody td").first).to_have_text(hostile)
    await expect(page.locator("#files-in tbody tr")).to_have_count(1_000)
    await expect(page.locator("#files-in [data-more]")).to_contain_text("5 more")
    assert await page.locator("main img").count() == 0


async def test_a_folder_keeps_the_paths_of_its_files(
    page: Page, serve: Any, admin: Any, panel: Panel, chosen: dict[str, Path]
) -> None:
    app = app_with_files(panel)

    @app.enter("/folder", F.Model(F.InputFiles("files", directory=True), F.InputText("echo"), F.Submit("go")))
    def enter(inputs: dict[str, Any]) -> None:
        raise InputsError(echo=" | ".join(sorted(inputs["files"])))

    source = await serve(app)
    await register(admin, source.openapi)
    await page.goto(f"/inputs{source.place}/folder")
    await page.locator("input[name=files]").set_input_files(chosen["large.bin"].parent)
    await go(page).click()
    names = " | ".join(sorted(f"chosen/{name}" for name in chosen))
    await expect(page.locator(".inputs-error:visible")).to_have_text(names)
    await expect(page.locator(".upload-kept")).to_contain_text("chosen/sub/deep.txt")
