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
    await expect(page.locator("#dialog-text")).to_contain_text("stopped")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/timeline/view")
    assert scene.mode.cancelled == [(fid, "alice")] and (await scene.store.execution(fid)).archived


async def test_a_run_is_paused_and_resumed_and_its_buttons_follow_its_state(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    await page.goto(f"/admin/status/view/{fid}")
    state, button = page.locator("#run-state"), page.locator("#run-pause")
    await expect(button).to_have_text("Pause")
    scene.mode.held.clear()
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(button).to_have_text("Pausing …")
    scene.mode.held.set()
    await expect(state).to_have_text("paused")
    await expect(button).to_have_text("Resume")
    await expect(page.locator("#run-paused")).to_be_visible()
    await expect(button).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(state).to_have_text("running")
    await expect(button).to_have_text("Pause")
    await expect(page.locator("#run-paused")).to_be_hidden()
    assert scene.mode.steered == [("pause", fid, "alice"), ("resume", fid, "alice")]

    # somebody else does it
    await scene.commit(fid, ("status", "paused"))
    await expect(button).to_have_text("Resume")
    await scene.commit(fid, ("status", "running"), ("final", "null"), ("status", "finished"))
    await expect(button).to_be_hidden()
    await expect(page.locator("#run-cancel")).to_be_hidden()
    await expect(page.locator("#run-delete")).to_be_visible()


async def test_a_run_that_waits_its_turn_keeps_its_place_over_a_pause(scene: Scene, page: Page) -> None:
    fid = new_fid()
    await scene.commit(fid, ("status", "starting"))
    scene.mode.queue = {fid: 2}
    await page.goto(f"/admin/status/view/{fid}")
    place = page.locator("#run-place")
    await expect(place).to_have_text("place 2 in the queue")
    await page.locator("#run-pause").click()
    await expect(page.locator("#run-state")).to_have_text("paused")
    await expect(place).to_be_hidden()
    scene.mode.queue = {fid: 1}
    await scene.commit(fid, ("status", "starting"))
    await expect(place).to_have_text("next in the queue")


async def test_a_paused_run_with_a_question_shows_both(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    await scene.commit(fid, ("lock", json.dumps({"dict": {"lid": "a", "name": "approve"}})), ("status", "paused"))
    await page.goto(f"/admin/status/view/{fid}")
    await expect(page.locator("#run-state")).to_have_text("paused")
    await expect(page.locator("#run-locks")).to_contain_text("approve")
    await page.goto("/admin/timeline/view")
    await expect(page.locator("#timeline .badge")).to_have_text("paused")
    await page.goto(f"/admin/status/view/{fid}")
    await page.locator("#run-pause").click()
    await expect(page.locator("#run-state")).to_have_text("awaiting")
    await expect(page.locator("#run-pause")).to_have_text("Pause")


async def test_a_run_is_cancelled_after_a_question_and_what_it_told_stays(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    await page.goto(f"/admin/status/view/{fid}")
    await page.locator("#run-cancel").click()
    await page.locator("#dialog-keep").click()
    await expect(page.locator("#run-dialog")).to_be_hidden()
    await page.locator("#run-cancel").click()
    await page.locator("#dialog-confirm").click()
    await expect(page.locator("#run-state")).to_have_text("error")
    await expect(page.locator("#run-dialog")).to_be_hidden()
    await expect(page.locator("article.error")).to_contain_text("killed by alice")
    assert scene.mode.steered == [("cancel", fid, "alice")]


async def test_what_cannot_be_done_to_a_run_says_why(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    await page.goto(f"/admin/status/view/{fid}")
    scene.mode.away = True
    await page.locator("#run-pause").click()
    await expect(page.locator("#run-problem")).to_contain_text("Ray cannot be reached")
    await expect(page.locator("#run-pause")).to_have_text("Pause")
    await page.locator("#run-cancel").click()
    await page.locator("#dialog-confirm").click()
    await expect(page.locator("#dialog-error")).to_contain_text("Ray cannot be reached")
    await scene.commit(fid, ("final", "null"), ("status", "finished"))
    await expect(page.locator("#run-dialog")).to_be_hidden()
    await expect(page.locator("#run-problem")).to_be_hidden()


async def test_attempts_are_told_with_a_long_reason_folded(scene: Scene, page: Page) -> None:
    fid = await scene.begun()
    frame = '  File "x.py", line 1, in run\n… 12 characters left out …\n    work()'
    traceback = f"Traceback (most recent call last):\n{frame}\nValueError: {EVIL}"
    for number, reason in ((2, "its process was lost"), (3, traceback)):
        payload = json.dumps({"dict": {"number": number, "reason": reason}})
        await scene.commit(fid, ("stdout", "at work"), ("attempt", payload), ("status", "running"))
    await scene.commit(fid, ("attempt", "no JSON"), ("attempt", json.dumps({"dict": {"number": EVIL}})))
    await page.goto(f"/admin/status/view/{fid}")
    told = page.locator("article.attempt")
    await expect(told).to_have_count(4)
    await expect(told.nth(0)).to_have_text("Attempt 2: its process was lost")
    await expect(told.nth(1).locator("p")).to_have_text(f"Attempt 3: ValueError: {EVIL}")
    await expect(told.nth(1).locator("pre")).to_be_hidden()
    await told.nth(1).locator("summary").click()
    await expect(told.nth(1).locator("pre")).to_contain_text('File "x.py", line 1')
    await page.get_by_role("tab", name="I/O").click()
    await expect(page.locator("#stdio-list > .attempt").first).to_have_text("Attempt 2: its process was lost")
    assert await page.locator("[onerror]").count() == 0


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
