"""Files in an answer: uploaded by the browser, in place before the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from playwright.async_api import expect

from kodosumi import forms as F
from kodosumi.core import Launch
from kodosumi.service.context import Panel
from tests.integration.panel.flow.apps import Source
from tests.integration.panel.flow.test_lock_browser import page_of
from tests.integration.panel.flow.test_lock_of_a_run import locks_of, source, state_of, transport

__all__ = ["page_of", "source", "transport"]

pytestmark = pytest.mark.browser


async def test_an_assignee_answers_with_files_which_the_run_then_has(
    panel: Panel, address: str, alice: Any, bob: Any, source: Source, page_of: Any, tmp_path: Path
) -> None:
    panel.settings.app_server = address
    app = source.app
    form = F.Model(F.InputFiles("papers", label="Papers", multiple=True, required=True), F.Submit("Send"))

    async def read(inputs: dict[str, Any], tracer: Any) -> dict[str, Any]:
        answer = await tracer.lock("papers", assignee="bob")
        async with await tracer.fs() as fs:
            return {"named": sorted(answer["papers"]), "there": [file["path"] for file in await fs.ls("in")]}

    @app.enter("/papers", F.Model(F.Submit("Begin")))
    async def enter(request: Request) -> Launch:
        return Launch(request, read)

    @app.lock("papers")
    def papers() -> F.Model:
        return form

    launched = await alice.post(f"/inputs{source.place}/papers", data={})
    fid = launched.headers["location"].rpartition("/")[2]
    panel.mode.living.add(fid)  # type: ignore[attr-defined]
    [lock] = await locks_of(alice, fid, 1)
    for name in ("a.txt", "ü b.txt"):
        (tmp_path / name).write_bytes(b"x" * 3_000_000)

    page = await page_of(bob)
    await page.goto(f"/inputs/lock/{fid}/{lock['lid']}")
    await page.locator("input[type=file]").set_input_files([tmp_path / "a.txt", tmp_path / "ü b.txt"])
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status")).to_contain_text("You answered", timeout=30_000)
    final = (await state_of(alice, fid, "finished"))["final"]
    assert final == '{"dict": {"named": ["a.txt", "ü b.txt"], "there": ["in/a.txt", "in/ü b.txt"]}}'
    assert (await bob.get(f"/files/{fid}/in")).json() == []
    assert len((await alice.get(f"/files/{fid}/in")).json()) == 2
