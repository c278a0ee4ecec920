"""Two panels on one central database and one transport: what one launches, the other shows at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from kodosumi.config import Settings
from kodosumi.service import executions
from kodosumi.service.app import create_app
from kodosumi.spooler import Spooler
from tests.engine import Engine
from tests.integration.panel.flow.apps import Source
from tests.integration.panel.people import logged_in

WITHOUT_SWEEP_S = 3_600.0
AGENT = """
import asyncio, os

async def steps(inputs, tracer):
    await tracer.debug("first")
    for name in ("second", "third"):
        while not os.path.exists(os.path.join(inputs["gates"], name)):
            await asyncio.sleep(0.02)
        await tracer.debug(name)
    return "done"
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel that takes no busy cluster for one that doesn't answer."""
    monkeypatch.setattr(executions, "_MODE_TIMEOUT_S", 60.0)


@pytest.fixture
def settings(ray_cluster: str, postgres_url: str, tmp_path: Path) -> dict[str, Any]:
    """What both panels and the spooler have in common."""
    return {
        "ray_server": ray_cluster,
        "execution_database": postgres_url,
        "admin_database": f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        "exec_dir": tmp_path / "execution",
        "secret_key": "a secret that both panels know, long enough",
        "app_log_file": None,
    }


@pytest.fixture
async def panels(settings: dict[str, Any]) -> AsyncIterator[tuple[FastAPI, FastAPI]]:
    """Two started panels that look into the database when the transport wakes them, and never by themselves."""
    spooler = Spooler(Settings(**settings, _env_file=None))
    spooling = asyncio.create_task(spooler.run())
    async with AsyncExitStack() as stack:
        first, second = create_app(**settings), create_app(**settings)
        for app in (first, second):
            await stack.enter_async_context(app.router.lifespan_context(app))
            app.state.panel.hub._heartbeat_s = WITHOUT_SWEEP_S
        yield first, second
    spooler.stop()
    await spooling


@asynccontextmanager
async def operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The operator, logged in at a panel that a real server serves."""
    source = await Source(app).start()
    async with httpx.AsyncClient(base_url=source.url, timeout=60) as client:
        yield await logged_in(client, "admin", "admin")
    app.state.panel.hub.end_streams()
    await source.stop()


class Watcher:
    """Reads a live stream as it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.seqs: list[int] = []

    async def until(self, wanted: str) -> None:
        """Returns as soon as a line of the stream ends with the text."""
        async with asyncio.timeout(60):
            async for line in self._lines:
                if line.startswith("id:"):
                    self.seqs.append(int(line.removeprefix("id:")))
                if line.endswith(wanted):
                    return
        raise AssertionError(f"the stream ended before {wanted!r}")


async def launch(app: FastAPI, settings: dict[str, Any], folder: Path) -> str:
    """A run that takes its steps as files appear in the folder."""
    engine = Engine(Settings(**settings, _env_file=None), folder)
    engine.module("steps_agent", AGENT)
    spec = engine.spec("steps_agent:steps", {"gates": str(folder)})
    await app.state.panel.mode.launch(spec)
    return spec.fid


async def test_a_run_launched_by_one_panel_is_followed_at_the_other_by_wake_ups(
    panels: tuple[FastAPI, FastAPI], settings: dict[str, Any], tmp_path: Path
) -> None:
    here, there = panels
    fid = await launch(here, settings, tmp_path)

    async with operator(there) as client:
        # `extended` waits for the stored beginning, which only a wake-up can announce.
        status = await client.get(f"/outputs/status/{fid}", params={"extended": True})
        assert status.status_code == 200, status.text
        async with client.stream("GET", f"/outputs/stream/{fid}") as answer:
            watcher = Watcher(answer)
            await watcher.until(":first")
            listed = (await client.get("/timeline/list")).json()["items"]
            (tmp_path / "second").touch()
            await watcher.until(":second")
            (tmp_path / "third").touch()
            await watcher.until("end of stream")
        changes = (await client.get("/timeline", params={"mode": "update", "timestamp": 0})).json()["items"]

    assert [(item["fid"], item["status"]) for item in listed] == [(fid, "running")]
    assert [(item["fid"], item["status"]) for item in changes["insert"]] == [(fid, "finished")]
    assert watcher.seqs[:8] == list(range(1, 9))


async def test_an_execution_deleted_at_one_panel_is_gone_at_the_other(
    panels: tuple[FastAPI, FastAPI], settings: dict[str, Any], tmp_path: Path
) -> None:
    here, there = panels
    for gate in ("second", "third"):
        (tmp_path / gate).touch()
    fid = await launch(here, settings, tmp_path)

    async with operator(here) as mine, operator(there) as theirs:
        await theirs.get(f"/outputs/status/{fid}", params={"extended": True})
        async with theirs.stream("GET", f"/outputs/stream/{fid}") as answer:
            await Watcher(answer).until("end of stream")
        deleted = await mine.delete(f"/outputs/{fid}", params={"purge": True})
        status = await theirs.get(f"/outputs/status/{fid}")
        listed = (await theirs.get("/timeline/list")).json()["items"]
        changes = (await theirs.get("/timeline", params={"mode": "update", "timestamp": 0})).json()["items"]

    assert deleted.status_code == 204, deleted.text
    assert status.status_code == 404
    assert listed == []
    assert changes["delete"] == [fid]
