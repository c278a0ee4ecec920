"""A user's way through the pages, in a real browser: login, flows, a form with an error, a live run, the timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def log_in(page: Page) -> None:
    """From the login page to the flows."""
    page.goto("/")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/admin/flow*")


def test_a_user_logs_in_runs_a_flow_and_finds_it_again(page: Page, flows: dict[str, str]) -> None:
    # Given a user at the flows
    log_in(page)
    page.get_by_role("link", name="My service").first.click()

    # When the form is refused
    page.get_by_label("Number of tasks").fill("501")
    page.get_by_role("button", name="Start").click()

    # Then the message is at the field, which keeps what was entered
    expect(page.get_by_text("At most 500 tasks.")).to_be_visible()
    expect(page.get_by_label("Number of tasks")).to_have_value("501")

    # When it is accepted
    page.get_by_label("Number of tasks").fill("4")
    page.get_by_role("button", name="Start").click()

    # Then the run is seen live to its end, with its result, its output and its events
    page.wait_for_url("**/admin/status/view/*")
    fid = page.url.rpartition("/")[2]
    expect(page.locator("#run-state")).to_have_text("finished")
    expect(page.get_by_text("4 tasks").first).to_be_visible()
    page.get_by_role("tab", name="I/O").click()
    expect(page.get_by_text("4 of 4 tasks are done").first).to_be_visible()
    page.get_by_role("tab", name="Events").click()
    expect(page.locator("#events-list").get_by_text("meta", exact=True)).to_be_visible()

    # And the timeline leads back to it
    page.goto("/admin/timeline/view")
    page.locator(f"a[href*='{fid}']").first.click()
    page.wait_for_url(f"**/admin/status/view/{fid}")


def test_logging_out_closes_the_pages(page: Page, flows: dict[str, str]) -> None:
    log_in(page)

    page.get_by_role("button", name="Logout").click()

    expect(page.get_by_label("Password")).to_be_visible()
    page.goto("/admin/flow")
    expect(page.get_by_label("Password")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_form_element_is_shown_and_sent(page: Page, flows: dict[str, str], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    log_in(page)
    page.goto(f"/inputs{flows['Every form element']}")

    page.get_by_label("Number from 0 to 10").fill("7.5")
    page.get_by_label("Checkbox").check()
    page.get_by_role("button", name="Send", exact=True).click()

    page.wait_for_url("**/admin/status/view/*")
    expect(page.get_by_text("7.5").first).to_be_visible()
