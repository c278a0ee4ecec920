"""The runner as it really runs: an actor on Ray, with remote tasks, children, blocked loops and cancels."""

from __future__ import annotations

import asyncio
import json

import pytest
import ray
from ray.exceptions import RayTaskError

from kodosumi.runner.main import StaleEnvironment
from kodosumi.runner.spec import Attempt, AttemptEnd
from tests.conditions import until
from tests.integration.runner.collector import KNOWN


async def test_remote_tasks_events_are_in_before_their_results(actor) -> None:
    events, outcome = await actor.serve("actor_service:execute", {"tasks": 3})
    assert events[0] == ("status", "running")
    assert events[-2:] == [("final", '{"__list__": [{"int": 0}, {"int": 1}, {"int": 4}]}'), ("status", "finished")]
    for number in range(3):
        told = events.index(("debug", f"in task {number}"))
        body = {"Markdown": {"body": f"have result `{number * number}`"}}
        assert told < events.index(("result", json.dumps(body)))
    assert [payload for kind, payload in events if kind == "stdout"] == ["1 of 3", "2 of 3", "3 of 3"]
    assert [payload for kind, payload in events if kind == "stderr"] == []
    assert outcome[:3] == ("finished", True, "")


async def test_plain_code_may_block_on_ray(actor) -> None:
    events, outcome = await actor.serve("actor_service:plain")
    assert ("stdout", "got [0, 1]") in events
    assert {kind for kind, _ in events} == {"status", "debug", "stdout", "final"}
    assert outcome.reusable


async def test_everything_a_run_writes_is_its_own_and_nothing_else(actor) -> None:
    for _ in range(2):
        events, outcome = await actor.serve("actor_service:loud")
        assert [payload for kind, payload in events if kind == "stdout"] == ["printed", "from a child", "end"]
        errors = [payload for kind, payload in events if kind == "stderr"]
        assert errors[:3] == ["to stderr", "child error", "INFO my.agent: logged"]
        assert len(errors) == 4 and "UserWarning: look out" in errors[3]
        assert outcome[:3] == ("finished", True, "")


async def test_a_blocked_loop_stops_neither_events_nor_answers(own_actor) -> None:
    fid, outcome = own_actor.begin("actor_service:blocks", 600)
    await until(lambda: own_actor.payloads(fid, "stdout"))
    assert (await own_actor.handle.current.remote()).spec.fid == fid
    assert await own_actor.handle.cancel.remote(fid, "alice")
    ended = await outcome
    assert ended[:3] == ("error", False, "user code did not stop when it was cancelled")
    assert await own_actor.payloads(fid, "error") == ["killed by alice"]


async def test_a_callable_travels_by_value(actor) -> None:
    factor = 3

    def entry(inputs, tracer):
        tracer.result_sync(inputs * factor)
        return inputs

    events, _ = await actor.serve(entry, 2)
    assert ("result", '{"int": 6}') in events


class Gate:
    """Holds a remote task until the test lets it go, and hears from it."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._heard: asyncio.Queue[object] = asyncio.Queue()

    async def wait(self) -> None:
        await self._opened.wait()

    async def open(self) -> object:
        self._opened.set()
        return await self._heard.get()

    async def tell(self, what: object) -> None:
        await self._heard.put(what)


async def test_a_remote_task_that_outlives_its_run_drops_its_events(actor) -> None:
    gate = (
        ray.remote(Gate)
        .options(name=f"gate-{actor.folder.name}", namespace="gate", num_cpus=0, runtime_env=KNOWN)
        .remote()
    )
    events, outcome = await actor.serve("actor_service:leaves_a_task", f"gate-{actor.folder.name}")
    assert outcome.state == "finished", events
    assert await gate.open.remote() is True
    assert ("debug", "too late") not in events
    ray.kill(gate)


async def test_changed_source_is_refused_before_anything_is_put(own_actor) -> None:
    await own_actor.serve("actor_service:loud")
    own_actor.change("actor_service.py")
    fid, outcome = own_actor.begin("actor_service:loud")
    with pytest.raises(StaleEnvironment) as caught:
        await outcome
    assert isinstance(caught.value, RayTaskError)
    assert await own_actor.events(fid) == []


@pytest.mark.parametrize("ends", [False, True])
async def test_remote_tasks_wait_at_their_checkpoints_while_the_run_is_paused(actor, tmp_path, ends: bool) -> None:
    go = tmp_path / "go"
    attempt = Attempt(number=2, reason="it was lost")
    fid, outcome = actor.begin("actor_service:has_tasks_pass", str(go), attempt=attempt)
    await until(lambda: actor.payloads(fid, "debug"), lambda told: told == ["ready 2"] * 2)
    assert await actor.handle.pause.remote(fid, "alice")
    go.touch()
    held = actor.handle.checkpoint.remote(fid, 2)
    assert ray.wait([held], timeout=0.2)[0] == []
    if ends:
        assert await actor.handle.cancel.remote(fid, "alice")
        assert (await outcome).end == AttemptEnd.OVER
        assert await actor.payloads(fid, "stdout") == ["['ended', 'ended']"]
        return
    assert await actor.handle.resume.remote(fid, "alice")
    assert (await outcome).state == "finished"
    told = [event.payload for event in await actor.events(fid) if event.kind in ("status", "debug")]
    assert told == ["running", "ready 2", "ready 2", "paused", "running", "passed", "passed", "finished"]
