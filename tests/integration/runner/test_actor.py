"""The runner as it really runs: an actor on Ray, with remote tasks, children, blocked loops and cancels."""

from __future__ import annotations

import asyncio
import json

import pytest
import ray
from collector import KNOWN
from ray.exceptions import RayTaskError

from kodosumi.runner.main import StaleEnvironment
from tests.conditions import until

SERVICE = """
import asyncio, logging, subprocess, sys, time, warnings
import ray

@ray.remote(num_cpus=0.1)
def calculate(i, tracer):
    tracer.debug_sync(f"in task {i}")
    return i * i

async def execute(inputs, tracer):
    futures = [calculate.remote(i, tracer) for i in range(inputs["tasks"])]
    total = []
    pending = futures
    while pending:
        done, pending = ray.wait(pending, timeout=0.01)
        for result in await asyncio.gather(*done):
            total.append(result)
            await tracer.markdown(f"have result `{result}`")
            print(f"{len(total)} of {inputs['tasks']}")
    return sorted(total)

def plain(inputs, tracer):
    print("got", ray.get([calculate.remote(i, tracer) for i in range(2)]))

def loud():
    print("printed")
    print("to stderr", file=sys.stderr)
    subprocess.run("echo from a child; echo child error >&2", shell=True, check=True)
    logging.getLogger("my.agent").info("logged")
    warnings.warn("look out")
    print("end")

@ray.remote(num_cpus=0)
def late(name, tracer):
    gate = ray.get_actor(name, namespace="gate")
    ray.get(gate.wait.remote())
    tracer.debug_sync("too late")
    ray.get(gate.tell.remote(tracer.cancelled))

def leaves_a_task(inputs, tracer):
    late.remote(inputs, tracer)

async def blocks(inputs, tracer):
    print("blocking")
    time.sleep(inputs)
    await tracer.debug("awake")
"""


@pytest.fixture(autouse=True)
def service(actor) -> None:
    actor.module("actor_service", SERVICE)


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
    assert outcome == ("finished", True, "")


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
        assert outcome == ("finished", True, "")


async def test_a_blocked_loop_stops_neither_events_nor_answers(actor) -> None:
    fid, outcome = actor.begin("actor_service:blocks", 600)
    await until(lambda: actor.payloads(fid, "stdout"))
    assert (await actor.handle.current.remote())[0] == fid
    assert await actor.handle.cancel.remote(fid, "alice")
    ended = await outcome
    assert ended == ("error", False, "user code did not stop when it was cancelled")
    assert await actor.payloads(fid, "error") == ["killed by alice"]


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


async def test_changed_source_is_refused_before_anything_is_put(actor) -> None:
    await actor.serve("actor_service:loud")
    actor.module("actor_service", SERVICE + "\nchanged = True\n")
    fid, outcome = actor.begin("actor_service:loud")
    with pytest.raises(StaleEnvironment) as caught:
        await outcome
    assert isinstance(caught.value, RayTaskError)
    assert await actor.events(fid) == []
