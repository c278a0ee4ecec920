"""Locks of earlier attempts: answered, still open or expired, and what the next attempt's code sees of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from dataclasses import replace
from typing import Any

import cloudpickle
import pytest

from kodosumi.core import Retry
from kodosumi.error import LockReleased
from kodosumi.runner.lock_types import LockAnswer, LockRequest, OpenLock
from kodosumi.runner.main import Runner
from kodosumi.runner.spec import Attempt, AttemptEnd, KeptLock
from tests.conditions import until
from tests.unit.runner.recorder import Record, spec_of


def answer(value: Any) -> LockAnswer:
    return LockAnswer(cloudpickle.dumps(value), json.dumps(value), "bob", 12.5)


def kept(lid: str, data: Any = 1, **facts: Any) -> KeptLock:
    return KeptLock(lid, "ask", data, **{"expires": time.time() + 60.0, **facts})


class Pool:
    """Hears what a runner tells its pool."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.waits = self

    def remote(self, *args: Any) -> None:
        self.told.append(args)


class Scene:
    """A further attempt of a run of a function of this module."""

    def __init__(self, runner: Runner, ticket: Any, record: Record) -> None:
        self.runner, self.ticket, self.record, self.fid = runner, ticket, record, ticket.fid
        self.pool = Pool()
        self.serving: asyncio.Task[Any]

    def begin(self, name: str, inputs: Any = None, *locks: KeptLock, **changes: Any) -> Scene:
        attempt = Attempt(number=2, kept=locks)
        spec = replace(spec_of(self.fid, f"{__name__}:{name}", inputs), **{"attempt": attempt, **changes})
        self.serving = asyncio.create_task(self.runner.run(spec, self.ticket, 60.0, self.pool))
        return self

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(payload)["dict"] for payload in self.record.payloads(kind)]

    async def answer(self, lid: str, value: Any) -> None:
        await self.runner.claim_lock(self.fid, lid, f"claim of {lid}")
        await self.runner.settle_lock(self.fid, lid, f"claim of {lid}", answer(value))

    async def result(self) -> Any:
        await self.serving
        [payload] = self.record.payloads("final")
        return json.loads(payload)


@pytest.fixture
async def scene(runner: Runner, ticket, record: Record) -> Any:
    scene = Scene(runner, ticket, record)
    yield scene
    await runner.cancel(ticket.fid, "the test's end")
    await scene.serving


async def asks(inputs, tracer):
    return [await tracer.lock("ask", data) for data in inputs]


def asks_plainly(inputs, tracer):
    return [tracer.lock_sync("ask", data) for data in inputs]


@pytest.mark.parametrize("name", ["asks", "asks_plainly"])
async def test_an_answer_that_was_given_is_there_at_once_and_told_no_more(scene: Scene, name: str) -> None:
    given = (kept("a", answered=True, result={"ok": 1}), kept("b", answered=True, result=None))
    scene.begin(name, [1, 1], *given)
    assert await scene.result() == {"__list__": [{"dict": {"ok": 1}}, {"NoneType": None}]}
    assert scene.told("lock") == scene.told("lease") == []
    assert scene.pool.told == []


@pytest.mark.parametrize("name", ["asks", "asks_plainly"])
async def test_a_lock_that_was_open_is_asked_for_under_its_old_id(scene: Scene, name: str) -> None:
    scene.begin(name, [{"n": 1}], kept("a", {"n": 1}))
    await until(lambda: scene.pool.told)
    lock = await scene.runner.open_lock(scene.fid, "a")
    assert (lock.lid, lock.name, lock.data, lock.username) == ("a", "ask", {"n": 1}, "tester")
    await scene.answer("a", "yes")
    assert await scene.result() == {"__list__": [{"str": "yes"}]}
    assert scene.told("lock") == []
    assert scene.told("lease") == [{"name": "ask", "lid": "a", "result": "yes", "by": "bob", "at": 12.5}]
    assert scene.pool.told == [(scene.fid, True), (scene.fid, False)]


async def asks_after_its_answer(inputs, tracer):
    while not tracer.cancelled:
        await asyncio.sleep(0.005)
        if inputs in sys_flags:
            return await tracer.lock("ask", 1)


sys_flags: set[str] = set()


async def test_a_lock_can_be_answered_before_anybody_asks_for_it_again(scene: Scene) -> None:
    scene.begin("asks_after_its_answer", scene.fid, kept("a"))
    await until(lambda: scene.record.payloads("status"))
    await scene.answer("a", "early")
    with pytest.raises(LockReleased):
        await scene.runner.claim_lock(scene.fid, "a", "second")
    sys_flags.add(scene.fid)
    assert await scene.result() == {"str": "early"}


async def test_what_is_asked_for_more_often_than_before_is_new(scene: Scene) -> None:
    scene.begin("asks", [1, 2, 1, 1], kept("a", answered=True, result="first"), kept("b"))
    [other] = await until(lambda: scene.told("lock"))
    assert other["data"] == 2
    await scene.answer(other["lid"], "other")
    await scene.answer("b", "second")
    _, new = await until(lambda: scene.told("lock"), lambda locks: len(locks) == 2)
    await scene.answer(new["lid"], "third")
    assert await scene.result() == {"__list__": [{"str": text} for text in ("first", "other", "second", "third")]}


async def asks_bob(tracer):
    return await tracer.lock("ask", 1, assignee="bob", four_eyes=True)


@pytest.mark.parametrize(
    "other", [{"data": 2}, {"assignee": ("ann",)}, {"four_eyes": False}, {"name": "other"}, {"data": True}]
)
async def test_another_question_gets_no_earlier_answer(scene: Scene, other: dict[str, Any]) -> None:
    one = kept("a", answered=True, result="wrong", assignee=("bob",), four_eyes=True)
    scene.begin("asks_bob", None, replace(one, **other), replace(one, lid="b", result="right"))
    assert await scene.result() == {"str": "right"}


async def test_a_lock_expires_when_it_would_have(scene: Scene) -> None:
    expired, late = kept("a", expires=time.time() - 5.0), kept("c", 2, expires=time.time() + 0.1)
    scene.begin("asks", [1], expired, late, kept("b"))
    leases = await until(lambda: scene.told("lease"), lambda leases: len(leases) == 2)
    assert leases == [{"name": "ask", "lid": lid, "result": None, "expired": True} for lid in ("a", "c")]
    # Who asks after that has the full time; who waits already hears of it.
    await until(lambda: scene.pool.told)
    locks = scene.runner._run.locks
    locks._expire_unless_claimed(locks._locks["b"])
    outcome = await scene.serving
    assert outcome.state == "error"
    assert "TimeoutError: Lock b expired" in scene.record.payloads("error")[0]


async def withdraws(tracer):
    asking = asyncio.create_task(tracer.lock("ask", 1))
    while not tracer._control.locks.waiting:
        await asyncio.sleep(0.001)
    asking.cancel()
    await asyncio.wait({asking})
    return "went on"


async def test_code_that_gives_up_an_earlier_lock_closes_it(scene: Scene) -> None:
    scene.begin("withdraws", None, kept("a"))
    assert await scene.result() == {"str": "went on"}
    assert scene.told("lease") == [{"name": "ask", "lid": "a", "result": None, "withdrawn": True}]


async def idles(tracer):
    await tracer.debug("ready")
    await asyncio.sleep(600)


async def test_a_remote_task_gets_the_same_lock_when_it_asks_again(scene: Scene) -> None:
    scene.begin("idles", None, kept("a"))
    await until(lambda: scene.told("lock") or scene.record.payloads("debug"))
    request = LockRequest("r", "ask", "1")
    askings = [asyncio.create_task(scene.runner.lock(scene.fid, request, 2)) for _ in range(2)]
    await until(lambda: scene.runner._run.locks._remote == 2)
    await scene.answer("a", "both")
    assert [(await asking).value() for asking in askings] == ["both", "both"]
    assert scene.pool.told == []


async def asks_twice_at_once(tracer):
    return await asyncio.gather(tracer.lock("ask", 1), tracer.lock("ask", 2))


async def test_the_pool_knows_a_durable_runs_open_locks(scene: Scene) -> None:
    scene.begin("asks_twice_at_once", None, kept("a"), kept("z", 99), durable=True)

    def last() -> tuple[bool, list[OpenLock]]:
        fid, waiting, locks = scene.pool.told[-1]
        assert fid == scene.fid
        return waiting, sorted(locks, key=lambda lock: str(lock.data))

    waiting, locks = await until(last, lambda told: len(told[1]) == 3)
    assert waiting and [lock.data for lock in locks] == [1, 2, 99]
    assert (await scene.runner.current()).open_locks == scene.pool.told[-1][2]
    await scene.answer("a", "yes")
    await until(last, lambda told: len(told[1]) == 2)
    await scene.answer(locks[1].lid, "no")
    await scene.result()
    # The end itself isn't told here: what is open then may be open again.
    assert [lock.lid for lock in scene.pool.told[-1][2]] in (["z"], ["z", locks[1].lid])


async def asks_and_fails(tracer):
    await tracer.lock("ask", {"n": 1}, assignee="bob", four_eyes=True)
    threading.Thread(target=ask, args=(tracer,)).start()
    while not tracer._control.locks.waiting:
        await asyncio.sleep(0.001)
    with contextlib.suppress(TimeoutError):
        await tracer.lock("ask", "given up", timeout=0.1)
    raise ValueError


def ask(tracer):
    with contextlib.suppress(asyncio.CancelledError):
        tracer.lock_sync("ask", "open")


async def test_what_was_answered_or_open_is_kept_for_the_next_attempt(scene: Scene) -> None:
    earlier = (kept("a", answered=True, result=0), kept("b", "never asked for"), kept("c", "x", expires=1.0))
    scene.begin("asks_and_fails", None, *earlier, retry=Retry())
    [first] = await until(lambda: scene.told("lock"))
    await scene.answer(first["lid"], {"ok": [1]})
    outcome = await scene.serving
    assert outcome.end == AttemptEnd.RAISED
    [second] = [lock for lock in scene.told("lock") if lock["data"] == "open"]
    assert outcome.kept == (
        *earlier[:2],
        KeptLock(first["lid"], "ask", {"n": 1}, first["expires"], ("bob",), True, True, {"ok": [1]}),
        KeptLock(second["lid"], "ask", "open", second["expires"]),
    )
    assert second["lid"] not in {lease["lid"] for lease in scene.told("lease")}
