"""The examples that work with people, on the whole stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance import walks
from tests.acceptance.test_walk_through import log_in

if TYPE_CHECKING:
    from playwright.async_api import Page


def test_a_large_purchase_needs_somebody_else(admin: httpx.Client, flows: dict[str, str]) -> None:
    walks.a_large_purchase_needs_somebody_else(admin, flows["Approval"])


def test_a_purchase_that_nobody_confirms_is_not_made(admin: httpx.Client, flows: dict[str, str]) -> None:
    walks.a_purchase_that_nobody_confirms_is_not_made(admin, flows["Approval"])


def test_documents_are_read_by_tasks(admin: httpx.Client, flows: dict[str, str]) -> None:
    walks.documents_are_read_by_tasks(admin, flows["Documents"])


def test_the_documents_form_asks_for_something(admin: httpx.Client, flows: dict[str, str]) -> None:
    response = admin.post(flows["Documents"], json={})

    assert response.json()["errors"]["documents"] == ["Choose a file, or write a text."]


@pytest.mark.browser
async def test_a_user_answers_on_the_page_of_the_run(page: Page, flows: dict[str, str]) -> None:
    await log_in(page)
    await walks.a_user_answers_on_the_page_of_the_run(page, flows["Approval"])


@pytest.mark.browser
async def test_a_user_sends_files_and_finds_reports(page: Page, flows: dict[str, str], tmp_path: Path) -> None:
    await log_in(page)
    await walks.a_user_sends_files_and_finds_reports(page, flows["Documents"], tmp_path)
