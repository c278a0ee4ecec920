"""A user's way through the pages, in a real browser: login, flows, a form with an error, a live run, the timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page

from playwright.async_api import expect

pytestmark = pytest.mark.browser

expect.set_options(timeout=60_000)


async def log_in(page: Page) -> None:
    """From the login page to the flows."""
    await page.goto("/")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill("admin")
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/admin/flow*")


async def test_a_user_logs_in_runs_a_flow_and_finds_it_again(page: Page, flows: dict[str, str]) -> None:
    # Given a user at the flows
    await log_in(page)
    await page.get_by_role("link", name="My service").first.click()

    # When the form is refused
    await page.get_by_label("Number of tasks").fill("501")
    await page.get_by_role("button", name="Start").click()

    # Then the message is at the field, which keeps what was entered
    await expect(page.get_by_text("At most 500 tasks.")).to_be_visible()
    await expect(page.get_by_label("Number of tasks")).to_have_value("501")

    # When it is accepted
    await page.get_by_label("Number of tasks").fill("4")
    await page.get_by_role("button", name="Start").click()

    # Then the run is seen live to its end, with its result, its output and its events
    await page.wait_for_url("**/admin/status/view/*")
    fid = page.url.rpartition("/")[2]
    await expect(page.locator("#run-state")).to_have_text("finished")
    await expect(page.get_by_text("4 tasks").first).to_be_visible()
    await page.get_by_role("tab", name="I/O").click()
    await expect(page.get_by_text("4 of 4 tasks are done").first).to_be_visible()
    await page.get_by_role("tab", name="Events").click()
    await expect(page.locator("#events-list").get_by_text("meta", exact=True)).to_be_visible()

    # And the timeline leads back to it
    await page.goto("/admin/timeline/view")
    await page.locator(f"a[href*='{fid}']").first.click()
    await page.wait_for_url(f"**/admin/status/view/{fid}")


async def test_logging_out_closes_the_pages(page: Page, flows: dict[str, str]) -> None:
    await log_in(page)

    await page.get_by_role("button", name="Logout").click()

    await expect(page.get_by_label("Password")).to_be_visible()
    await page.goto("/admin/flow")
    await expect(page.get_by_label("Password")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_form_element_is_shown_and_sent(page: Page, flows: dict[str, str], scheme: str) -> None:
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await log_in(page)
    await page.goto(f"/inputs{flows['Every form element']}")

    await page.get_by_label("Number from 0 to 10").fill("7.5")
    await page.locator("input[name=checked]").check()
    await page.get_by_role("button", name="Send", exact=True).click()

    await page.wait_for_url("**/admin/status/view/*")
    await expect(page.get_by_text("7.5").first).to_be_visible()
