"""The status and timeline pages in a browser: live, without duplicates, and deaf to what others wrote."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from kodosumi.config import Settings
from kodosumi.events import new_fid
from tests.unit.service.outputs.scene import Scene, served

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene(Settings())
    await made.hub.start()
    yield made
    await made.hub.close()


@pytest.fixture
async def page(scene: Scene, chromium: Browser) -> AsyncIterator[Page]:
    async with served(scene.app) as address:
        context = await chromium.new_context(base_url=address, extra_http_headers={"x-test-user": "alice"})
        page = await context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None)
        yield page
        await context.close()
        assert not problems


async def test_a_run_is_seen_from_its_start_to_its_end(scene: Scene, page: Page) -> None:
    fid = new_fid()
    await scene.commit(fid, ("status", "starting"))
    scene.mode.queue = {fid: 2}
    await page.goto(f"/admin/status/view/{fid}")
    await expect(page.locator("#run-state")).to_have_text("starting")
    await expect(page.locator("#run-place")).to_have_text("place 2 in the queue")

    meta = json.dumps({"dict": {"summary": "Prime gaps", "description": "Counts them"}})
    await scene.commit(fid, ("inputs", '{"dict": {"tasks": 100}}'), ("meta", meta), ("status", "running"))
    await expect(page.locator("#run-state")).to_have_text("running")
    await expect(page.locator("h1")).to_have_text("Prime gaps")
    await expect(page.locator("#run-place")).to_be_hidden()

    await scene.commit(fid, ("result", '{"Markdown": {"body": "half *way*"}}'), ("stdout", "\x1b[31mred\x1b[0m <b>"))
    await expect(page.locator("#result-list em")).to_have_text("way")
    await page.get_by_role("tab", name="I/O").click()
    await expect(page.locator("#stdio-list .ansi-fg-red")).to_have_text("red")
    await expect(page.locator("#stdio-list")).to_have_text("red <b>")

    await scene.commit(fid, ("final", '{"HTML": {"body": "<h2>Done</h2>"}}'), ("status", "finished"))
    await expect(page.locator("#run-state")).to_have_text("finished")
    await page.get_by_role("tab", name="Result").click()
    await expect(page.locator("article.final h2")).to_have_text("Done")
    await expect(page.locator("#run-print")).to_be_visible()
    await page.get_by_role("tab", name="Events").click()
    await expect(page.locator("#events-list tr")).to_have_count(8)


async def test_switching_tabs_and_losing_the_connection_shows_each_event_once(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    await page.goto(f"/admin/status/view/{fid}")
    tabs = ["I/O", "Events", "Result"]
    for number in range(12):
        await scene.commit(fid, ("stdout", f"line {number}"), ("result", json.dumps({"int": number})))
        await page.get_by_role("tab", name=tabs[number % 3]).click()
        if number % 4 == 3:
            await page.context.set_offline(True)
            await page.context.set_offline(False)
    await scene.commit(fid, ("status", "finished"))
    await expect(page.locator("#run-state")).to_have_text("finished", timeout=20_000)
    await expect(page.locator("#result-list article")).to_have_count(12)
    await page.get_by_role("tab", name="I/O").click()
    await expect(page.locator("#stdio-list > div")).to_have_count(12)
    await page.get_by_role("tab", name="Events").click()
    await expect(page.locator("#events-list tr")).to_have_count(29)


async def test_nothing_that_was_written_runs_in_the_page(scene: Scene, page: Page) -> None:
    fid = await scene.begun(summary=EVIL, description=EVIL)
    wrapped = [json.dumps({kind: {"body": EVIL}}) for kind in ("Markdown", "HTML", "Text")]
    wrapped += [json.dumps({"str": EVIL}), json.dumps({EVIL: {EVIL: EVIL}}), EVIL]
    for kind in ("result", "action", "final"):
        await scene.commit(fid, *((kind, payload) for payload in wrapped))
    for kind in ("stdout", "stderr", "debug", "error", "agent", "upload", "lock", "inputs"):
        await scene.commit(fid, (kind, EVIL))
    await scene.commit(fid, ("lock", json.dumps({"dict": {"lid": EVIL, "name": EVIL}})), ("status", "error"))
    await page.goto(f"/admin/status/view/{fid}")
    for tab in ("I/O", "Events", "Result"):
        await page.get_by_role("tab", name=tab).click()
        await expect(page.locator("#run-state")).to_have_text("error")
    await expect(page.locator("article.error")).to_have_count(1)
    assert await page.locator("main script:not([src^='/static/']), main [onerror]").count() == 0
    assert "pwned" not in (await page.title()).replace(EVIL, "")
    await page.goto("/admin/timeline/view")
    await expect(page.locator("#timeline .summary")).to_have_text(EVIL)
    await page.goto(f"/outputs/html/{fid}")
    assert await page.locator("script, [onerror]").count() == 0


async def test_a_running_execution_is_stopped_and_deleted_by_keyboard(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    await page.goto(f"/admin/status/view/{fid}")
    await expect(page.locator("#run-state")).to_have_text("running")
    await page.locator("#run-delete").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#delete-text")).to_contain_text("stopped")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/timeline/view")
    assert scene.mode.cancelled == [(fid, "alice")] and (await scene.store.execution(fid)).archived


async def test_the_timeline_scrolls_searches_and_stays_up_to_date(scene: Scene, page: Page) -> None:
    fids = [await scene.begun(fid=new_fid(1.7e9 + number), summary=f"Run {number}") for number in range(60)]
    await page.goto("/admin/timeline/view")
    rows = page.locator("#timeline li")
    await expect(rows.first).to_contain_text("Run 59")
    await expect(rows).to_have_count(25)
    for count in (50, 60):
        await page.mouse.wheel(0, 20_000)
        await expect(rows).to_have_count(count)

    new = await scene.begun(summary="Brand new")
    await scene.commit(fids[59], ("status", "finished"))
    await scene.store.archive(fids[58])
    await expect(rows.first).to_contain_text("Brand new", timeout=20_000)
    await expect(rows.nth(1).locator(".badge")).to_have_text("finished")
    await expect(rows).to_have_count(60)
    assert await rows.first.get_attribute("data-fid") == new

    await page.locator("input[type=search]").fill("run 7")
    await expect(rows).to_have_count(1)
    await rows.first.get_by_role("link").click()
    await expect(page.locator("h1")).to_have_text("Run 7")


async def test_an_unknown_execution_has_a_page_that_says_so(page: Page) -> None:
    answer = await page.goto(f"/admin/status/view/{new_fid(1.6e9)}")
    assert answer is not None and answer.status == 404
    await expect(page.locator("h1")).to_have_text("Execution not found")
