"""Mode ``temporal``: the contract of every mode, through a workflow, a worker, the pool and a runner's process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.activities import AgentActivities
from kodosumi.config import Settings
from kodosumi.events import EventKind, ExecutionState
from kodosumi.execution.direct import DirectMode
from kodosumi.runner.spec import Retry
from kodosumi.temporal_worker import TemporalWorker
from kodosumi.transport import connect_transport
from tests.conditions import until
from tests.durable import OneStoreMode
from tests.engine import Engine
from tests.mode_contract import ModeContract, open_locks, settle
from tests.servers.temporal import TemporalServer

AGENT = """
import os

async def counts(inputs, tracer):
    with open(inputs, "a") as file:
        print(tracer.attempt, os.getpid(), file=file, flush=True)
    answer = await tracer.lock("ask", "once")
    if tracer.attempt < 2:
        await tracer.debug("ready")
        await tracer.lock("never")
    return [tracer.attempt, answer]

async def raises(inputs, tracer):
    if tracer.attempt < 3:
        raise ValueError("a secret")
    return tracer.attempt
"""


@pytest.fixture
async def engine(ray_cluster: str, agents: Path, temporal_server: TemporalServer) -> AsyncIterator[Engine]:
    settings = Settings(
        ray_server=ray_cluster,
        _env_file=None,
        lock_expires=500.0,
        max_event_bytes=1_000_000,
        execution_mode="temporal",
        temporal_host=temporal_server.address,
        temporal_task_queue=uuid.uuid4().hex,
        temporal_drain_timeout=0.0,
    )
    mode = OneStoreMode(settings)
    engine = Engine(settings, agents, mode, connect_transport(settings))
    mode.store = engine.store
    await mode.configure()
    worker = TemporalWorker(settings, AgentActivities(DirectMode(settings), engine.store, connect_transport(settings)))
    ready = asyncio.Event()
    tasks = [asyncio.create_task(engine.spooler.run()), asyncio.create_task(worker.run(ready.set))]
    await ready.wait()
    yield engine
    await engine.leave_none()
    worker.stop()
    engine.spooler.stop()
    await asyncio.gather(*tasks)
    defaults = DirectMode(Settings(ray_server=ray_cluster, _env_file=None))
    await until(lambda: defaults.configure(), lambda _: True)
    await mode.close()


class TestTemporalMode(ModeContract):
    """The suite on this member."""


async def test_a_killed_process_costs_an_attempt_and_no_answer(engine: Engine, tmp_path: Path) -> None:
    engine.module("durable_agent", AGENT)
    trace = tmp_path / "attempts"
    fid = await engine.launch("durable_agent:counts", str(trace), locks=("ask", "never"))
    [lid] = await open_locks(engine, fid)
    await settle(engine, fid, lid, "yes")
    # It waits for the second one: what it hasn't told yet would be told by nobody.
    await open_locks(engine, fid, 2)
    os.kill(int(trace.read_text().split()[1]), signal.SIGKILL)
    ended = await engine.ended(fid)
    assert ended.state == ExecutionState.FINISHED
    assert [line.split()[0] for line in trace.read_text().splitlines()] == ["1", "2"]
    [told] = await engine.payloads(fid, EventKind.ATTEMPT)
    assert json.loads(told)["dict"]["number"] == 2
    [final] = await engine.payloads(fid, EventKind.FINAL)
    assert "yes" in final
    kinds = [event.kind for event in await engine.events(fid)]
    assert kinds.count(EventKind.LOCK) == 2


async def test_user_code_that_raises_is_called_again(engine: Engine) -> None:
    engine.module("durable_agent", AGENT)
    fid = await engine.launch("durable_agent:raises", retry=Retry(max_attempts=3, delay=0.05))
    assert (await engine.ended(fid)).state == ExecutionState.FINISHED
    told = [json.loads(payload)["dict"] for payload in await engine.payloads(fid, EventKind.ATTEMPT)]
    assert [attempt["number"] for attempt in told] == [2, 3]
    assert "ValueError: a secret" in told[0]["reason"]
