"""The examples that work with people, whatever carries and keeps the events: by API and in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance import walks
from tests.acceptance.faults.plant import Plant
from tests.stack import EXAMPLES

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page


@pytest.fixture(scope="module")
def flows(plant: Plant) -> Iterator[dict[str, str]]:
    """The place of each example under the plant's panel."""
    apps = {name: plant.another_app(name, f"{name}.app:app", EXAMPLES) for name in ("approval", "documents")}
    for app, _ in apps.values():
        app.start()
    places = {name: plant.registered(port) for name, (_, port) in apps.items()}
    yield places
    for app, _ in apps.values():
        app.end()


@pytest.fixture
async def page(browser: Browser, plant: Plant) -> AsyncIterator[Page]:
    """A page of the plant's panel, logged in as the plant's client is."""
    context = await browser.new_context(base_url=plant.url)
    context.set_default_timeout(60_000)
    session = [{"name": each.name, "value": each.value or "", "url": plant.url} for each in plant.client.cookies.jar]
    await context.add_cookies(session)
    yield await context.new_page()
    await context.close()


def test_a_large_purchase_needs_somebody_else(plant: Plant, flows: dict[str, str]) -> None:
    walks.a_large_purchase_needs_somebody_else(plant.client, flows["approval"])


def test_a_purchase_that_nobody_confirms_is_not_made(plant: Plant, flows: dict[str, str]) -> None:
    walks.a_purchase_that_nobody_confirms_is_not_made(plant.client, flows["approval"])


def test_documents_are_read_by_tasks(plant: Plant, flows: dict[str, str]) -> None:
    walks.documents_are_read_by_tasks(plant.client, flows["documents"])


@pytest.mark.browser
async def test_a_user_answers_on_the_page_of_the_run(page: Page, flows: dict[str, str]) -> None:
    await walks.a_user_answers_on_the_page_of_the_run(page, flows["approval"])


@pytest.mark.browser
async def test_a_user_sends_files_and_finds_reports(page: Page, flows: dict[str, str], tmp_path: Path) -> None:
    await walks.a_user_sends_files_and_finds_reports(page, flows["documents"], tmp_path)
