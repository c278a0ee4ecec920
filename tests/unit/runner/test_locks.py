"""The locks of a run: opened by user code, claimed and answered from outside, one answer each."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import threading
import time
from dataclasses import replace
from typing import Any

import cloudpickle
import pytest

from kodosumi.core import TracerMock
from kodosumi.error import ExecutionNotFound, LockNotFound, LockReleased, PayloadTooLarge, UnknownLock
from kodosumi.runner import locks as locks_module
from kodosumi.runner.lock_types import BUSY, CANCELLED, LockAnswer, LockRequest
from kodosumi.runner.lock_waiting import requested
from kodosumi.runner.main import Runner
from kodosumi.runner.tracer import Tracer
from tests.conditions import until
from tests.unit.runner.recorder import Record, spec_of


def answer(value: Any, payload: str | None = None) -> LockAnswer:
    return LockAnswer(cloudpickle.dumps(value), payload or json.dumps(value), "bob", 12.5)


class Scene:
    """A run of a function of this module, seen from outside."""

    def __init__(self, runner: Runner, record: Record, fid: str) -> None:
        self.runner = runner
        self.record = record
        self.fid = fid
        self.serving: asyncio.Task[Any]

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(payload)["dict"] for payload in self.record.payloads(kind)]

    async def lids(self, number: int = 1) -> list[str]:
        locks = await until(lambda: self.told("lock"), lambda locks: len(locks) >= number)
        return [lock["lid"] for lock in locks]

    def expire(self, lid: str) -> None:
        """A lock's time is over now, as if its timer had come to it."""
        locks = self.runner._run.locks
        lock = locks._locks[lid]
        lock.timer.cancel()
        lock.deadline = asyncio.get_running_loop().time()
        locks._expire_unless_claimed(lock)

    async def answer(self, lid: str, value: Any, claim: str = "c") -> None:
        await self.runner.claim_lock(self.fid, lid, claim)
        await self.runner.settle_lock(self.fid, lid, claim, answer(value))


@pytest.fixture
async def begin(runner: Runner, ticket, record: Record) -> Any:
    scene = Scene(runner, record, ticket.fid)

    def begun(name: str, inputs: Any = None, locks: tuple[str, ...] | None = None, expires_s: float = 60.0) -> Scene:
        spec = replace(spec_of(ticket.fid, f"{__name__}:{name}", inputs), locks=locks)
        scene.serving = asyncio.create_task(runner.run(spec, ticket, expires_s))
        return scene

    yield begun
    await runner.cancel(ticket.fid, "the test's end")
    await scene.serving


async def asks(inputs, tracer):
    print("before")
    got = await tracer.lock("ask", {"n": {1}}, **(inputs or {}))
    print("after")
    return got


def asks_plainly(inputs, tracer):
    print("before")
    got = tracer.lock_sync("ask", {"n": {1}}, **(inputs or {}))
    print("after")
    return got


@pytest.mark.parametrize("name", ["asks", "asks_plainly"])
async def test_a_lock_is_told_answered_and_goes_on(begin, name: str) -> None:
    scene = begin(name, {"timeout": 30, "assignee": "bob", "four_eyes": True})
    [lid] = await scene.lids()
    lock = await scene.runner.open_lock(scene.fid, lid)
    assert (lock.fid, lock.username, lock.name, lock.data) == (scene.fid, "tester", "ask", {"n": [1]})
    assert time.time() < lock.expires <= time.time() + 30

    await scene.answer(lid, {"ok": 0})

    # What was told is in before the answer's giver hears that it was taken.
    assert scene.told("lease") == [{"name": "ask", "lid": lid, "result": {"ok": 0}, "by": "bob", "at": 12.5}]
    assert (await scene.serving).reusable
    assert scene.told("lock") == [
        {
            "name": "ask",
            "lid": lid,
            "data": {"n": [1]},
            "expires": lock.expires,
            "assignee": ["bob"],
            "four_eyes": True,
        }
    ]
    kinds = [kind for kind, _ in scene.record.pairs]
    assert kinds == ["status", "stdout", "lock", "lease", "stdout", "final", "status"]
    assert scene.record.payloads("final") == ['{"dict": {"ok": 0}}']


async def asks_for_nothing(tracer):
    return [await tracer.lock("ask"), tracer.lock_sync("ask")]


@pytest.mark.parametrize("value", [None, 0, "", False])
async def test_a_falsy_answer_is_an_answer_like_any_other(begin, value: Any) -> None:
    scene = begin("asks_for_nothing")
    await scene.answer((await scene.lids(1))[0], value)
    await scene.answer((await scene.lids(2))[1], value)
    await scene.serving
    assert [lease["result"] for lease in scene.told("lease")] == [value, value]
    assert len(scene.record.payloads("final")) == 1


async def asks_in_parallel(tracer):
    first, second = await asyncio.gather(tracer.lock("a", 1), asyncio.to_thread(tracer.lock_sync, "b", 2))
    third = await tracer.lock("c", 3)
    return [first, second, third]


async def test_locks_of_one_run_wait_side_by_side_and_one_after_the_other(begin) -> None:
    scene = begin("asks_in_parallel")
    await scene.lids(2)
    by_name = {lock["name"]: lock["lid"] for lock in scene.told("lock")}
    assert set(by_name) == {"a", "b"}
    await scene.answer(by_name["b"], "B", "1")
    await scene.answer(by_name["a"], "A", "2")
    await scene.answer((await scene.lids(3))[2], "C", "3")
    await scene.serving
    assert scene.record.payloads("final") == ['{"__list__": [{"str": "A"}, {"str": "B"}, {"str": "C"}]}']


async def test_a_second_answer_finds_the_lock_released(begin) -> None:
    scene = begin("asks_for_nothing")
    [lid] = await scene.lids()
    await scene.answer(lid, 1, "first")
    for call in (
        scene.runner.open_lock(scene.fid, lid),
        scene.runner.claim_lock(scene.fid, lid, "second"),
        scene.runner.settle_lock(scene.fid, lid, "second", answer(2)),
    ):
        with pytest.raises(LockReleased):
            await call
    # Asked again because the answer to it was lost: the same answer, not a second one.
    await scene.runner.settle_lock(scene.fid, lid, "first", answer(1))
    assert len(scene.told("lease")) == 1


async def test_of_answers_at_the_same_instant_one_is_worked_on_and_the_others_are_refused(begin) -> None:
    scene = begin("asks_for_nothing")
    [lid] = await scene.lids()
    held = await scene.runner.claim_lock(scene.fid, lid, "0")
    others = [asyncio.create_task(scene.runner.claim_lock(scene.fid, lid, str(n))) for n in range(1, 5)]
    assert not (await asyncio.wait(others, timeout=0.05))[0]
    assert (await scene.runner.claim_lock(scene.fid, lid, "0")) == held

    await scene.runner.settle_lock(scene.fid, lid, "0", None)
    assert (await others[0]).id == "1"
    # Who gave up in the queue is passed over.
    await scene.runner.settle_lock(scene.fid, lid, "2", None)
    await scene.runner.settle_lock(scene.fid, lid, "1", None)
    assert (await others[2]).id == "3"
    await scene.runner.settle_lock(scene.fid, lid, "3", answer("three"))

    ends = await asyncio.gather(*others, return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["LockClaim", "LockReleased", "LockClaim", "LockReleased"]
    assert [lease["result"] for lease in scene.told("lease")] == ["three"]


async def test_a_silent_claim_gives_way_and_its_late_answer_counts_when_it_is_the_first(begin, monkeypatch) -> None:
    monkeypatch.setattr(locks_module, "CLAIM_LIFETIME_S", 0.01)
    scene = begin("asks_for_nothing")
    [lid] = await scene.lids()
    await scene.runner.claim_lock(scene.fid, lid, "silent")
    await scene.runner.claim_lock(scene.fid, lid, "next")
    await scene.runner.settle_lock(scene.fid, lid, "silent", answer(1))
    with pytest.raises(LockReleased):
        await scene.runner.settle_lock(scene.fid, lid, "next", answer(2))


@pytest.mark.parametrize("name", ["asks", "asks_plainly"])
async def test_an_expired_lock_is_closed_in_the_stream_and_fails_in_the_authors_code(begin, name: str) -> None:
    scene = begin(name, {"timeout": 0.05})
    await scene.serving
    [lid] = await scene.lids()
    assert scene.told("lease") == [{"name": "ask", "lid": lid, "result": None, "expired": True}]
    [error] = scene.record.payloads("error")
    assert error.splitlines()[-1].startswith(f"TimeoutError: Lock {lid} expired")


async def test_a_lock_without_a_timeout_expires_as_the_settings_say(begin) -> None:
    scene = begin("asks", expires_s=0.05)
    await scene.serving
    assert scene.told("lease")[0]["expired"]


async def test_a_claim_in_time_keeps_a_lock_from_expiring_until_it_is_given_up(begin) -> None:
    scene = begin("asks")
    [lid] = await scene.lids()
    await scene.runner.claim_lock(scene.fid, lid, "in time")
    scene.expire(lid)
    with pytest.raises(LockReleased):
        await scene.runner.claim_lock(scene.fid, lid, "too late")
    assert scene.told("lease") == []
    await scene.runner.settle_lock(scene.fid, lid, "in time", None)
    await scene.serving
    assert scene.told("lease")[0]["expired"]


async def test_a_claim_in_time_may_answer_after_the_expiry(begin) -> None:
    scene = begin("asks")
    [lid] = await scene.lids()
    await scene.runner.claim_lock(scene.fid, lid, "in time")
    scene.expire(lid)
    await scene.runner.settle_lock(scene.fid, lid, "in time", answer("ok"))
    await scene.serving
    assert scene.record.payloads("final") == ['{"str": "ok"}']


async def test_an_unknown_name_fails_in_the_authors_code_with_the_known_ones(begin) -> None:
    scene = begin("asks", locks=("other", "another"))
    await scene.serving
    [error] = scene.record.payloads("error")
    assert error.splitlines()[-1].endswith(
        "UnknownLock: The app has no @app.lock('ask') handler. Its locks: another, other."
    )
    assert scene.told("lock") == []


async def asks_too_much(tracer):
    await tracer.lock("ask", "x" * 2_000_000)


async def test_data_above_the_limit_fail_in_the_authors_code(begin) -> None:
    scene = begin("asks_too_much")
    await scene.serving
    assert "PayloadTooLarge: The lock event has" in scene.record.payloads("error")[0]


async def test_an_answer_above_the_limit_is_refused_and_the_lock_stays_open(begin) -> None:
    scene = begin("asks")
    [lid] = await scene.lids()
    await scene.runner.claim_lock(scene.fid, lid, "large")
    with pytest.raises(PayloadTooLarge):
        await scene.runner.settle_lock(scene.fid, lid, "large", answer("x" * 2_000_000))
    await scene.answer(lid, "small", "small")
    await scene.serving
    assert [lease["result"] for lease in scene.told("lease")] == ["small"]


async def test_what_is_not_here_is_not_found(begin) -> None:
    scene = begin("asks")
    await scene.lids()
    for call in (
        scene.runner.open_lock(scene.fid, "none"),
        scene.runner.claim_lock(scene.fid, "none", "c"),
        scene.runner.settle_lock(scene.fid, "none", "c", None),
    ):
        with pytest.raises(LockNotFound):
            await call
    with pytest.raises(ExecutionNotFound):
        await scene.runner.open_lock("0" * 24, "none")


async def cleans_up(inputs, tracer):
    try:
        await tracer.lock("ask")
    finally:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await tracer.debug("cleaned")


def cleans_up_plainly(tracer):
    try:
        tracer.lock_sync("ask")
    finally:
        time.sleep(0.001)
        tracer.debug_sync("cleaned")


async def cleans_up_in_a_thread(tracer):
    await asyncio.to_thread(cleans_up_plainly, tracer)


def cleans_up_in_many_threads(tracer):
    threads = [threading.Thread(target=_swallowing, args=(tracer,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        tracer.lock_sync("ask")
    finally:
        for thread in threads:
            thread.join()
        tracer.debug_sync("cleaned")


def _swallowing(tracer):
    try:
        tracer.lock_sync("ask")
    except asyncio.CancelledError:
        pass


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("cleans_up", 1),
        ("cleans_up_plainly", 1),
        ("cleans_up_in_a_thread", 1),
        ("cleans_up_in_many_threads", 6),
    ],
)
async def test_a_cancel_ends_the_waiting_and_is_told_once(begin, name: str, number: int) -> None:
    scene = begin(name)
    lids = await scene.lids(number)
    queued = asyncio.create_task(_held_and_queued(scene, lids[0]))
    await until(lambda: scene.runner._run.locks._locks[lids[0]].queue)
    await scene.runner.cancel(scene.fid, "alice")
    outcome = await scene.serving
    await until(
        lambda: scene.record.pairs[-3:] == [("debug", "cleaned"), ("error", "killed by alice"), ("status", "error")]
    )
    assert outcome.reusable, outcome
    assert scene.told("lease") == []
    with pytest.raises(ExecutionNotFound):
        await queued


async def _held_and_queued(scene: Scene, lid: str) -> None:
    await scene.runner.claim_lock(scene.fid, lid, "1")
    await scene.runner.claim_lock(scene.fid, lid, "2")


async def asks_again_when_cancelled(tracer):
    try:
        await tracer.lock("ask")
    except asyncio.CancelledError:
        await tracer.lock("ask")


async def test_no_lock_opens_after_a_cancel(begin) -> None:
    scene = begin("asks_again_when_cancelled")
    await scene.lids()
    await scene.runner.cancel(scene.fid, "alice")
    await scene.serving
    assert len(scene.told("lock")) == 1


async def waits_with_a_limit(tracer):
    asking = asyncio.create_task(tracer.lock("ask"))
    while not tracer._control.locks.waiting:
        await asyncio.sleep(0.001)
    try:
        await asyncio.wait_for(asking, 0.05)
    except TimeoutError:
        return "went on"


async def test_a_lock_that_its_code_does_not_wait_for_any_more_is_closed_in_the_stream(begin) -> None:
    scene = begin("waits_with_a_limit")
    await scene.serving
    [lid] = await scene.lids()
    assert scene.told("lease") == [{"name": "ask", "lid": lid, "result": None, "withdrawn": True}]
    assert scene.record.payloads("final") == ['{"str": "went on"}']


async def leaves_a_lock(tracer):
    waiting = asyncio.create_task(tracer.lock("ask"))
    await asyncio.sleep(0)
    while not tracer._control.locks.waiting:
        await asyncio.sleep(0.001)
    del waiting
    return "left"


async def test_a_run_that_leaves_a_lock_behind_ends_and_takes_no_answer(begin) -> None:
    scene = begin("leaves_a_lock")
    outcome = await scene.serving
    assert outcome.state == "finished"
    with pytest.raises(ExecutionNotFound):
        await scene.runner.open_lock(scene.fid, (await scene.lids())[0])


async def test_a_full_mailbox_holds_up_no_cancel(begin, monkeypatch) -> None:
    monkeypatch.setattr("kodosumi.runner.mailbox.MAX_EVENTS", 1)
    scene = begin("asks_plainly")
    scene.record.blocked = True
    await until(lambda: scene.runner._run and scene.runner._run.locks._opening)
    await scene.runner.cancel(scene.fid, "alice")
    await until(lambda: scene.runner._run._user.done.done())
    scene.record.blocked = False
    await scene.serving
    assert scene.told("lock") == []
    assert scene.record.payloads("error") == ["killed by alice"]


# remote tasks --------------------------------------------------------------------------------------------------------


async def idles(tracer):
    print("ready")
    await asyncio.sleep(600)


def remote_request(name: str = "ask") -> LockRequest:
    return requested(name, {"a": 1}, None, None, False)


async def test_a_remote_request_that_comes_again_joins_its_lock(begin) -> None:
    scene = begin("idles", locks=("ask",))
    await until(lambda: scene.runner._run)
    request = remote_request()
    calls = [asyncio.create_task(scene.runner.lock(scene.fid, request)) for _ in range(2)]
    assert await scene.lids() == [request.lid]
    assert not scene.runner._run.locks.waiting
    await scene.answer(request.lid, "ok")
    for call in [*calls, scene.runner.lock(scene.fid, request)]:
        assert (await call).value() == "ok"
    unknown = await scene.runner.lock(scene.fid, remote_request("nothing"))
    with pytest.raises(UnknownLock):
        pickle.loads(pickle.dumps(unknown)).value()
    assert await scene.runner.lock("0" * 24, request) == CANCELLED


async def test_remote_requests_above_the_bound_are_told_to_ask_again(begin, monkeypatch) -> None:
    monkeypatch.setattr(locks_module, "MAX_REMOTE_WAITS", 1)
    scene = begin("idles")
    await until(lambda: scene.runner._run)
    request = remote_request()
    call = asyncio.create_task(scene.runner.lock(scene.fid, request))
    await scene.lids()
    assert await scene.runner.lock(scene.fid, remote_request()) == BUSY
    await scene.runner.withdraw_lock(scene.fid, request.lid)
    assert await call == CANCELLED
    assert scene.told("lease")[0]["withdrawn"]


async def test_a_remote_wait_ends_with_the_run(begin) -> None:
    scene = begin("idles")
    await until(lambda: "ready" in scene.record.payloads("stdout"))
    call = asyncio.create_task(scene.runner.lock(scene.fid, remote_request()))
    await scene.lids()
    await scene.runner.cancel(scene.fid, "alice")
    with pytest.raises(asyncio.CancelledError):
        (await call).value()


# what authors give ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf])
async def test_a_timeout_is_a_positive_number(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        await TracerMock(answers={"ask": 1}).lock("ask", timeout=timeout)


@pytest.mark.parametrize(
    ("assignee", "expected"),
    [
        (None, None),
        ("bob", ("bob",)),
        (["bob", " x@y.de "], ("bob", "x@y.de")),
        ([], ValueError),
        ("", ValueError),
        ([1], TypeError),
    ],
)
def test_an_assignee_names_somebody(assignee: Any, expected: Any) -> None:
    def call() -> Any:
        return requested("ask", None, None, assignee, False).assignee

    if isinstance(expected, type):
        with pytest.raises(expected, match="assignee"):
            call()
    else:
        assert call() == expected


def test_where_the_run_cannot_be_reached_a_lock_says_so(ticket, record: Record) -> None:
    with pytest.raises(Exception, match="own process and in Ray tasks"):
        Tracer(ticket).lock_sync("ask")


async def test_the_pool_is_told_when_a_run_begins_to_wait_and_when_it_goes_on(runner, ticket, record: Record) -> None:
    told: list[tuple[str, bool]] = []

    class Pool:
        class waits:  # called like a method of an actor
            @staticmethod
            def remote(fid: str, waiting: bool) -> None:
                told.append((fid, waiting))

    serving = asyncio.create_task(runner.run(spec_of(ticket.fid, f"{__name__}:asks_in_parallel"), ticket, 60.0, Pool()))
    scene = Scene(runner, record, ticket.fid)
    for number in range(2):
        await scene.answer((await scene.lids(2))[number], number, str(number))
    third = (await scene.lids(3))[2]
    assert told == [(ticket.fid, waiting) for waiting in (True, False, True)]
    assert (await runner.current()).waits
    await scene.answer(third, 3)
    await serving
    assert told[3:] == [(ticket.fid, False)]
