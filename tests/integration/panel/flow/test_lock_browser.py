"""Locks in a browser: on the run's page, live, in the form, and from two browsers at the same instant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from kodosumi.const import TOKEN_KEY
from tests.integration.panel.flow.apps import Source
from tests.integration.panel.flow.lock_app import Waiting

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=\"document.title='pwned'\">"


@pytest.fixture
async def page_of(chromium: Browser, address: str) -> AsyncIterator[Callable[[Any], Any]]:
    """Opens a browser window of a user; nothing may go wrong in its scripts."""
    problems: list[str] = []

    async def opened(user: Any) -> Page:
        context = await chromium.new_context(base_url=address)
        await context.add_cookies([{"name": TOKEN_KEY, "value": user.key, "url": address}])
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None)
        return page

    yield opened
    assert not problems


async def test_a_lock_appears_on_the_runs_page_is_answered_and_settled(
    alice: Any, run: Waiting, source: Source, page_of: Any
) -> None:
    page = await page_of(alice)
    await page.goto(f"/admin/status/view/{run.fid}")
    await expect(page.locator("#run-state")).to_have_text("running")
    lid = await run.lock(name="Pay the invoice")
    await expect(page.locator("#run-state")).to_have_text("awaiting")
    await page.get_by_role("link", name="Answer Pay the invoice").click()
    await page.get_by_label("Comment").fill("")
    await page.get_by_role("button", name="Go", exact=True).click()
    await expect(page.get_by_text("Say <why>.")).to_be_visible()
    await page.get_by_label("Comment").fill("fine")
    await page.get_by_role("button", name="Go", exact=True).click()
    await page.wait_for_url(f"**/admin/status/view/{run.fid}")
    await expect(page.locator("#run-locks article")).to_have_count(1)
    await run.lease(lid, by=alice.id)
    await expect(page.locator("#run-answers")).to_contain_text("Pay the invoice answered by alice")
    await expect(page.locator("#run-locks")).to_be_hidden()
    await expect(page.locator("#run-state")).to_have_text("running")
    assert source.app.state.answers == [{"comment": "fine"}]


async def test_who_launched_a_run_sees_whom_it_waits_for_and_that_it_expired(
    alice: Any, bob: Any, run: Waiting, page_of: Any
) -> None:
    page = await page_of(alice)
    await page.goto(f"/admin/status/view/{run.fid}")
    first = await run.lock(name="first", assignee=["BOB@example.com"], four_eyes=True)
    await run.lock(name=EVIL, four_eyes=True)
    cards = page.locator("#run-locks article")
    await expect(cards).to_have_count(2)
    await expect(cards.first).to_contain_text("Waits for bob")
    await expect(cards.nth(1)).to_contain_text("somebody other than who launched it")
    await expect(cards.nth(1).locator("strong")).to_have_text(EVIL)
    assert await page.get_by_role("link", name="Answer").count() == 0
    await run.lease(first, expired=True)
    await expect(page.locator("#run-answers li")).to_contain_text("first expired")
    await run.lease(await run.lock(name="third"), withdrawn=True)
    await expect(cards).to_have_count(1)
    await run.commit(("error", "killed"), ("status", "error"))
    await expect(page.locator("#run-answers li").nth(2)).to_contain_text("no longer waited for")
    await expect(page.locator("#run-answers li").nth(1)).to_contain_text("closed when the run ended")
    await expect(cards).to_have_count(0)
    await page.reload()
    await expect(page.locator("#run-answers li")).to_have_count(3)
    assert "pwned" not in await page.title()


async def test_an_assignee_answers_without_ever_seeing_the_run(bob: Any, run: Waiting, page_of: Any) -> None:
    lid = await run.lock(assignee=["bob"])
    page = await page_of(bob)
    await page.goto(f"/inputs/lock/{run.fid}/{lid}")
    await page.get_by_label("Comment").fill("agreed")
    releasing = asyncio.create_task(page.get_by_role("button", name="Go", exact=True).click())
    await expect(page.get_by_role("button", name="Go", exact=True)).to_be_hidden()
    await releasing
    await run.lease(lid, by=bob.id, result={"comment": "agreed"})
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text("You answered")
    assert await page.get_by_role("link", name="My run").count() == 0


@pytest.mark.usefixtures("patient")
async def test_of_two_browsers_at_the_same_instant_one_answers_and_the_other_is_told_who(
    alice: Any, admin: Any, run: Waiting, source: Source, page_of: Any
) -> None:
    lid = await run.lock()
    users = {"alice": alice, "admin": admin}
    pages = {name: await page_of(user) for name, user in users.items()}
    for name, page in pages.items():
        await page.goto(f"/inputs/lock/{run.fid}/{lid}")
        await page.get_by_label("Comment").fill(name)
    buttons = [page.get_by_role("button", name="Go", exact=True) for page in pages.values()]

    async def settle() -> None:
        while not source.app.state.answers:
            await asyncio.sleep(0)
        await run.lease(lid, by=users[source.app.state.answers[0]["comment"]].id)

    await asyncio.gather(settle(), *(button.click() for button in buttons))
    [answer] = source.app.state.answers
    loser = "admin" if answer["comment"] == "alice" else "alice"
    await pages[answer["comment"]].wait_for_url(f"**/admin/status/view/{run.fid}")
    await expect(pages[loser].get_by_role("status")).to_contain_text(f"already answered by {answer['comment']}")
    await expect(pages[loser].get_by_label("Comment")).to_have_count(0)
