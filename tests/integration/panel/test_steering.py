"""A run is paused, resumed and cancelled through the panel: runner, spooler and store are real and in this process."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi.config import Settings
from kodosumi.execution.memory import MemoryMode
from kodosumi.service.context import Panel
from kodosumi.spooler import Spooler
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.engine import Engine

COUNTING = """
import asyncio, os


async def count(inputs, tracer):
    for number in range(inputs["steps"]):
        await tracer.debug(str(number))
        while number in (20, 40) and not os.path.exists(inputs["gates"] + str(number)):
            await asyncio.sleep(0.01)
    return "counted"
"""


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport(uuid.uuid4().hex)


@pytest.fixture
def mode(transport: MemoryTransport) -> MemoryMode:
    return MemoryMode(transport)


@pytest.fixture
async def engine(
    tmp_path: Path, panel: Panel, mode: MemoryMode, transport: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Engine]:
    """Launches in the panel's mode and stores in the panel's store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    settings = Settings(_env_file=None)
    engine = Engine(settings, tmp_path, mode, transport)
    engine.spooler = Spooler(settings, store=panel.store, transport=transport, mode=mode)
    engine.module("counting_agent", COUNTING)
    spooling = asyncio.create_task(engine.spooler.run())
    yield engine
    engine.spooler.stop()
    await spooling
    await mode.close()
    sys.modules.pop("counting_agent", None)


async def counted(panel: Panel, fid: str, at_least: int) -> int:
    async def seq() -> int:
        return (await panel.store.execution(fid)).seq

    return await until(seq, lambda seq: seq >= at_least)


async def test_a_paused_run_tells_nothing_more_until_it_is_resumed(
    panel: Panel, engine: Engine, alice: Any, bob: httpx.AsyncClient
) -> None:
    # It stands still at each gate, so that it can't be over before it's asked to wait, or to go on.
    gates = str(engine.folder / "gate")
    fid = await engine.launch("counting_agent:count", {"steps": 100, "gates": gates}, user=alice.id)
    await counted(panel, fid, 10)
    assert (await bob.post(f"/outputs/{fid}/pause")).status_code == 404

    answer = await alice.post(f"/outputs/{fid}/pause")
    Path(f"{gates}20").touch()
    assert (answer.status_code, answer.json()) == (200, {"fid": fid, "status": "paused"})
    assert (await alice.get(f"/outputs/status/{fid}")).json()["status"] == "paused"
    assert (await alice.get("/timeline/list")).json()["items"][0]["status"] == "paused"
    assert (await alice.get(f"/outputs/raw/{fid}")).status_code == 409

    answer = await alice.post(f"/outputs/{fid}/resume")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    Path(f"{gates}40").touch()
    text = (await alice.get(f"/outputs/stream/{fid}")).text
    assert text.count("event: debug") == 100 and text.rstrip().endswith("end of stream")
    told = [event.payload for event in await panel.store.events(fid) if event.kind == "status"]
    assert told == ["starting", "running", "paused", "running", "finished"]
    assert (await alice.post(f"/outputs/{fid}/pause")).status_code == 409


async def test_a_paused_run_is_cancelled_and_its_end_is_stored_when_the_answer_comes(
    panel: Panel, engine: Engine, alice: Any
) -> None:
    fid = await engine.launch("counting_agent:count", {"steps": 100, "gates": "nowhere"}, user=alice.id)
    await counted(panel, fid, 10)
    assert (await alice.post(f"/outputs/{fid}/pause")).status_code == 200

    answer = await alice.post(f"/outputs/{fid}/cancel")
    assert (answer.status_code, answer.json()) == (200, {"fid": fid, "status": "error"})
    assert (await panel.store.execution(fid)).error == "killed by alice"
