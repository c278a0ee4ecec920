"""Flows in a browser: from the list through the form, and an app's own page, which must not act for the user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Page, expect
from starlette.responses import HTMLResponse

from kodosumi import forms
from kodosumi.execution.memory import MemoryMode
from kodosumi.service.app import create_app
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.integration.panel.flow.apps import FLOW, Source

pytestmark = pytest.mark.browser

MODEL = forms.Model(
    forms.InputText(name="title", label="Title"),
    forms.InputPassword(name="secret", label="Secret"),
    forms.Submit("Run"),
)
HOSTILE = """<h1>Own page</h1>
<form method="post" action="/logout"><button>send</button></form>
<img src="x" onerror="document.title='ran'"><script>document.title='ran'</script>"""


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    app = FastAPI()

    @app.get("/", summary="<b>Calculator</b>", openapi_extra=FLOW)
    def form() -> dict[str, Any]:
        return {"elements": MODEL.get_model()}

    @app.post("/")
    def submit() -> dict[str, Any]:
        return {"errors": {"title": ["Give it a <title>."]}, "elements": MODEL.get_model()}

    app.get("/page")(lambda: HTMLResponse(HOSTILE))
    source = await Source(app).start()
    yield source
    await source.stop()


@pytest.fixture
async def page(source: Source, chromium: Browser, tmp_path: Path) -> AsyncIterator[Page]:
    """A browser, logged in at a panel that knows the source."""
    transport = MemoryTransport()
    panel = create_app(
        store=MemoryExecutionStore(),
        transport=transport,
        mode=MemoryMode(transport),
        admin_database=f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        event_transport="memory",
        execution_mode="memory",
        app_log_file=None,
    )
    async with panel.router.lifespan_context(panel):
        await panel.state.flow_register.register([source.openapi])
        server = await Source(panel).start()
        page = await chromium.new_page(base_url=server.url.replace("127.0.0.1", "localhost"))
        await page.goto("/")
        await page.fill("#name", "admin")
        await page.fill("#password", "admin")
        await page.click("button[type=submit]")
        await page.wait_for_url("**/admin/flow")
        yield page
        await page.close()
        await server.stop()


async def test_a_form_shows_its_errors_in_place_and_keeps_what_was_entered(page: Page) -> None:
    await page.get_by_role("link", name="<b>Calculator</b>").click()
    await page.get_by_label("Title").fill("mine")
    await page.get_by_label("Secret").fill("hidden")
    await page.get_by_role("button", name="Run").click()
    await expect(page.get_by_text("Give it a <title>.")).to_be_visible()
    await expect(page.get_by_label("Title")).to_have_value("mine")
    await expect(page.get_by_label("Title")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("Secret")).to_have_value("")


async def test_an_apps_own_page_runs_no_script_and_sends_no_form(page: Page, source: Source) -> None:
    await page.goto(f"{source.place}/page")
    await expect(page.get_by_role("heading", name="Own page")).to_be_visible()
    await page.get_by_role("button", name="send").click()
    assert await page.title() != "ran"
    await page.goto("/admin/flow")
    await expect(page.get_by_role("heading", name="Flows")).to_be_visible()
