"""What every execution mode promises; one subclass per member gives the fixture ``engine``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from kodosumi.error import ExecutionNotFound, KodosumiError, LockNotFound, LockReleased, PayloadTooLarge
from kodosumi.events import EventKind, ExecutionState, new_fid
from kodosumi.runner.lock_types import LockAnswer
from kodosumi.runner.spec import Retry, UploadedFile
from tests.conditions import until
from tests.engine import OWNER, RUN_S, Engine

AGENT = """
import asyncio

def hello(inputs):
    return inputs

async def asks(inputs, tracer):
    return await tracer.lock("ask", {"question": inputs}, **(inputs or {}))

def asks_plainly(inputs, tracer):
    return tracer.lock_sync("ask", {"question": inputs}, **(inputs or {}))

async def asks_twice(tracer):
    return await asyncio.gather(tracer.lock("ask", 1), tracer.lock("ask", 2))

async def idles(tracer):
    await tracer.debug("ready")
    await asyncio.sleep(600)

async def steps(inputs, tracer):
    await tracer.debug("ready")
    if inputs:
        await asyncio.to_thread(wait_for, inputs)
    await tracer.checkpoint()
    await tracer.debug("done")

def steps_plainly(inputs, tracer):
    tracer.debug_sync("ready")
    if inputs:
        wait_for(inputs)
    tracer.checkpoint_sync()
    tracer.debug_sync("done")

def wait_for(path):
    import pathlib, time
    while not pathlib.Path(path).exists():
        time.sleep(0.01)

class Busy(ValueError):
    pass

async def fails_twice(inputs, tracer):
    await tracer.debug(f"attempt {tracer.attempt}")
    if tracer.attempt < 3:
        raise Busy(f"busy {tracer.attempt}")
    return "done"

async def asks_and_fails_once(tracer):
    got = await tracer.lock("ask", 1)
    if tracer.attempt < 2:
        raise Busy
    return [got, await tracer.lock("ask", 2)]
"""


def answer(value: Any) -> LockAnswer:
    """An answer by ``bob``."""
    return LockAnswer(cloudpickle.dumps(value), json.dumps(value), "bob", 12.5)


async def told(engine: Engine, fid: str, kind: EventKind) -> list[dict[str, Any]]:
    """What the stored events of a kind say."""
    return [json.loads(payload)["dict"] for payload in await engine.payloads(fid, kind)]


async def open_locks(engine: Engine, fid: str, number: int = 1) -> list[str]:
    """The ids of the run's locks, once there are so many."""
    locks = await until(lambda: told(engine, fid, EventKind.LOCK), lambda locks: len(locks) >= number, RUN_S)
    return [lock["lid"] for lock in locks]


async def settle(engine: Engine, fid: str, lid: str, value: Any) -> None:
    """Claims and answers."""
    claim = await engine.mode.claim_lock(fid, lid)
    await engine.mode.settle_lock(fid, lid, claim.id, answer(value))


async def refused(call: Any, error: type[KodosumiError]) -> None:
    """Asserts that a call fails with one of our own errors, not with a relative of it."""
    with pytest.raises(error) as caught:
        await call
    assert caught.type is error
    assert caught.value.args == error(*caught.value.args).args


class ModeContract:
    """The suite."""

    @pytest.fixture(autouse=True)
    def _agent(self, engine: Engine) -> None:
        engine.module("mode_agent", AGENT)

    async def test_a_launch_asked_for_twice_is_one_run(self, engine: Engine) -> None:
        fid = new_fid()
        await engine.launch("mode_agent:idles", fid=fid)
        await engine.launch("mode_agent:idles", fid=fid)
        await engine.first(fid, EventKind.DEBUG)
        assert await engine.mode.known([fid, new_fid()]) == {fid}
        assert await engine.mode.cancel(fid, "Ada")
        assert (await engine.ended(fid)).state == ExecutionState.ERROR
        assert await engine.payloads(fid, EventKind.STATUS) == ["starting", "running", "error"]
        assert await engine.mode.known([fid]) == frozenset()
        assert not await engine.mode.cancel(fid, "Ada")

    async def test_files_that_were_uploaded_are_told_after_running(self, engine: Engine) -> None:
        uploads = (UploadedFile("in/a.txt", 3, 1.5), UploadedFile("in/ü/b", 0, 2.0))
        fid = await engine.launch("mode_agent:hello", uploads=uploads)
        await engine.ended(fid)
        kinds = [event.kind.value for event in await engine.events(fid)]
        assert kinds == ["status", "inputs", "meta", "status", "upload", "final", "status"]
        [payload] = await engine.payloads(fid, EventKind.UPLOAD)
        assert json.loads(payload) == {
            "Upload": {
                "files": [
                    {"path": "in/a.txt", "size": 3, "last_modified": 1.5},
                    {"path": "in/ü/b", "size": 0, "last_modified": 2.0},
                ]
            }
        }

    @pytest.mark.parametrize("name", ["asks", "asks_plainly"])
    async def test_a_lock_is_answered_once(self, engine: Engine, name: str) -> None:
        fid = await engine.launch(f"mode_agent:{name}", locks=("ask",))
        [lid] = await open_locks(engine, fid)
        [event] = await told(engine, fid, EventKind.LOCK)
        lock = await engine.mode.lock(fid, lid)
        assert (lock.fid, lock.username, lock.lid, lock.name) == (fid, OWNER, lid, "ask")
        assert (lock.data, lock.expires) == (event["data"], event["expires"])
        assert (await engine.store.execution(fid)).locks == (lid,)

        claim = await engine.mode.claim_lock(fid, lid)
        assert claim.lock == lock
        second = asyncio.create_task(engine.mode.claim_lock(fid, lid))
        await engine.mode.settle_lock(fid, lid, claim.id, answer({"ok": True}))

        ended = await engine.ended(fid)
        assert (ended.state, ended.locks) == (ExecutionState.FINISHED, ())
        assert await engine.payloads(fid, EventKind.FINAL) == ['{"dict": {"ok": true}}']
        assert await told(engine, fid, EventKind.LEASE) == [
            {"name": "ask", "lid": lid, "result": {"ok": True}, "by": "bob", "at": 12.5}
        ]
        with pytest.raises((LockReleased, ExecutionNotFound)):
            await second

    async def test_an_answer_that_is_not_acceptable_leaves_the_lock_to_the_next(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:asks_twice")
        first, second = await open_locks(engine, fid, 2)
        claim = await engine.mode.claim_lock(fid, first)
        following = asyncio.create_task(engine.mode.claim_lock(fid, first))
        await engine.mode.settle_lock(fid, first, claim.id, None)
        taken = await following
        await refused(
            engine.mode.settle_lock(fid, first, taken.id, answer("x" * engine.settings.max_event_bytes)),
            PayloadTooLarge,
        )
        await settle(engine, fid, first, 1)
        await refused(engine.mode.lock(fid, first), LockReleased)
        await refused(engine.mode.claim_lock(fid, first), LockReleased)
        await refused(engine.mode.settle_lock(fid, first, taken.id, answer(3)), LockReleased)
        await settle(engine, fid, second, 2)
        await engine.ended(fid)
        assert [lease["result"] for lease in await told(engine, fid, EventKind.LEASE)] == [1, 2]

    async def test_who_gives_up_waiting_for_a_lock_leaves_it_to_others(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:asks")
        [lid] = await open_locks(engine, fid)
        held = await engine.mode.claim_lock(fid, lid)
        gone = asyncio.create_task(engine.mode.claim_lock(fid, lid))
        assert not (await asyncio.wait({gone}, timeout=0.2))[0]
        gone.cancel()
        await asyncio.wait({gone})
        await engine.mode.settle_lock(fid, lid, held.id, None)
        # Within the test's time, which is less than a lost claim would last.
        async with asyncio.timeout(45.0):
            await settle(engine, fid, lid, "ok")
        await engine.ended(fid)

    async def test_an_answer_that_comes_again_is_the_same_answer(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:asks_twice")
        first, second = await open_locks(engine, fid, 2)
        claim = await engine.mode.claim_lock(fid, first)
        await engine.mode.settle_lock(fid, first, claim.id, answer(1))
        await engine.mode.settle_lock(fid, first, claim.id, answer(1))
        await settle(engine, fid, second, 2)
        await engine.ended(fid)
        assert len(await told(engine, fid, EventKind.LEASE)) == 2

    @pytest.mark.parametrize("inputs", [{"timeout": 0.1}, None])
    async def test_an_expired_lock_is_closed_in_the_stream(self, engine: Engine, inputs: Any) -> None:
        """With a timeout, or without one, when the settings' holds."""
        fid = await engine.launch("mode_agent:asks", inputs)
        if inputs is None:
            [lid] = await open_locks(engine, fid)
            [lock] = await told(engine, fid, EventKind.LOCK)
            events = await engine.events(fid)
            opened = next(event.timestamp for event in events if event.kind == EventKind.LOCK)
            assert abs(lock["expires"] - opened - engine.settings.lock_expires) < 5.0
            await engine.mode.cancel(fid, "Ada")
        assert (await engine.ended(fid)).locks == ()
        if inputs is not None:
            [lid] = await open_locks(engine, fid)
            [lease] = await told(engine, fid, EventKind.LEASE)
            assert lease == {"name": "ask", "lid": lid, "result": None, "expired": True}
            assert f"TimeoutError: Lock {lid} expired" in (await engine.payloads(fid, EventKind.ERROR))[0]
        await refused(engine.mode.lock(fid, lid), ExecutionNotFound)

    async def test_an_unknown_name_fails_in_the_authors_code(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:asks", locks=("other",))
        await engine.ended(fid)
        assert "UnknownLock: The app has no @app.lock('ask')" in (await engine.payloads(fid, EventKind.ERROR))[0]

    async def test_what_is_not_there_is_not_found(self, engine: Engine) -> None:
        await refused(engine.mode.lock(new_fid(), "none"), ExecutionNotFound)
        await refused(engine.mode.claim_lock(new_fid(), "none"), ExecutionNotFound)
        await refused(engine.mode.settle_lock(new_fid(), "none", "c", answer(1)), ExecutionNotFound)
        fid = await engine.launch("mode_agent:idles")
        await engine.first(fid, EventKind.DEBUG)
        await refused(engine.mode.lock(fid, "none"), LockNotFound)
        await refused(engine.mode.claim_lock(fid, "none"), LockNotFound)
        await refused(engine.mode.settle_lock(fid, "none", "c", None), LockNotFound)
        await engine.mode.cancel(fid, "Ada")
        await engine.ended(fid)

    @pytest.mark.parametrize("name", ["asks", "asks_plainly"])
    async def test_a_cancel_ends_the_waiting_for_a_lock(self, engine: Engine, name: str) -> None:
        fid = await engine.launch(f"mode_agent:{name}")
        [lid] = await open_locks(engine, fid)
        held = await engine.mode.claim_lock(fid, lid)
        assert await engine.mode.cancel(fid, "Ada")
        await refused(engine.mode.settle_lock(fid, lid, held.id, answer(1)), ExecutionNotFound)
        ended = await engine.ended(fid)
        assert (ended.state, ended.locks) == (ExecutionState.ERROR, ())
        assert await engine.payloads(fid, EventKind.ERROR) == ["killed by Ada"]
        assert await told(engine, fid, EventKind.LEASE) == []

    # pauses ----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", ["steps", "steps_plainly"])
    async def test_a_paused_run_waits_at_its_next_call_until_it_is_resumed(
        self, engine: Engine, tmp_path: Path, name: str
    ) -> None:
        on = tmp_path / "on"
        fid = await engine.launch(f"mode_agent:{name}", str(on))
        await engine.first(fid, EventKind.DEBUG)
        assert await engine.mode.pause(fid, "Ada") and await engine.mode.pause(fid, "Bob")
        on.touch()
        execution = await until(
            lambda: engine.store.execution(fid), lambda execution: execution.state == ExecutionState.PAUSED
        )
        assert execution.shown_state == ExecutionState.PAUSED
        assert await engine.payloads(fid, EventKind.DEBUG) == ["ready"]

        assert await engine.mode.resume(fid, "Ada")
        assert (await engine.ended(fid)).state == ExecutionState.FINISHED
        assert await engine.payloads(fid, EventKind.STATUS) == ["starting", "running", "paused", "running", "finished"]
        assert await engine.payloads(fid, EventKind.DEBUG) == ["ready", "done"]

    async def test_what_is_asked_for_again_is_no_news(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:idles")
        await engine.first(fid, EventKind.DEBUG)
        for call in (engine.mode.resume, engine.mode.pause, engine.mode.pause, engine.mode.resume, engine.mode.resume):
            assert await call(fid, "Ada")
        assert await engine.mode.cancel(fid, "Ada")
        await engine.ended(fid)
        statuses = await engine.payloads(fid, EventKind.STATUS)
        assert statuses == ["starting", "running", "paused", "running", "error"]

    @pytest.mark.parametrize("name", ["steps", "steps_plainly"])
    async def test_a_paused_run_can_be_cancelled(self, engine: Engine, tmp_path: Path, name: str) -> None:
        on = tmp_path / "on"
        fid = await engine.launch(f"mode_agent:{name}", str(on))
        await engine.first(fid, EventKind.DEBUG)
        assert await engine.mode.pause(fid, "Ada")
        on.touch()
        assert await engine.mode.cancel(fid, "Bob")
        await engine.ended(fid)
        assert await engine.payloads(fid, EventKind.ERROR) == ["killed by Bob"]
        assert await engine.payloads(fid, EventKind.DEBUG) == ["ready"]

    async def test_an_answer_given_during_a_pause_is_used_after_it(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:asks")
        [lid] = await open_locks(engine, fid)
        assert await engine.mode.pause(fid, "Ada")
        await settle(engine, fid, lid, "ok")
        await until(lambda: told(engine, fid, EventKind.LEASE))
        assert await engine.payloads(fid, EventKind.FINAL) == []
        assert await engine.mode.resume(fid, "Ada")
        assert (await engine.ended(fid)).state == ExecutionState.FINISHED

    async def test_a_run_that_is_not_there_cannot_be_paused(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:hello")
        await engine.ended(fid)
        await until(lambda: engine.mode.known([fid]), lambda known: not known)
        for one in (fid, new_fid()):
            assert not await engine.mode.pause(one, "Ada")
            assert not await engine.mode.resume(one, "Ada")

    # attempts --------------------------------------------------------------------------------------------------------

    async def test_what_an_author_wants_retried_is_called_again(self, engine: Engine) -> None:
        retry = Retry(max_attempts=3, on=("ValueError",), delay=0.05)
        fid = await engine.launch("mode_agent:fails_twice", retry=retry)
        assert (await engine.ended(fid)).state == ExecutionState.FINISHED
        kinds = [event.kind.value for event in await engine.events(fid)]
        head = ["status", "inputs", "meta"]
        assert kinds == [*head, "status", "debug", *["attempt", "status", "debug"] * 2, "final", "status"]
        attempts = await told(engine, fid, EventKind.ATTEMPT)
        assert [attempt["number"] for attempt in attempts] == [2, 3]
        assert attempts[1]["reason"].endswith("mode_agent.Busy: busy 2")
        assert await engine.payloads(fid, EventKind.DEBUG) == ["attempt 1", "attempt 2", "attempt 3"]

    @pytest.mark.parametrize(
        ("retry", "calls"), [(Retry(max_attempts=2, delay=0.05), 2), (Retry(on=("KeyError",), delay=0.05), 1)]
    )
    async def test_the_last_failure_ends_the_run(self, engine: Engine, retry: Retry, calls: int) -> None:
        fid = await engine.launch("mode_agent:fails_twice", retry=retry)
        assert (await engine.ended(fid)).state == ExecutionState.ERROR
        assert len(await engine.payloads(fid, EventKind.DEBUG)) == calls
        [error] = await engine.payloads(fid, EventKind.ERROR)
        assert error.endswith(f"mode_agent.Busy: busy {calls}")

    async def test_a_run_that_waits_for_its_next_attempt_is_known_paused_resumed_and_cancelled(
        self, engine: Engine
    ) -> None:
        fid = await engine.launch("mode_agent:fails_twice", retry=Retry(delay=30.0))
        await engine.first(fid, EventKind.DEBUG)
        assert await engine.mode.known([fid]) == {fid}
        for call in (engine.mode.pause, engine.mode.resume, engine.mode.cancel):
            assert await call(fid, "Ada")
        assert (await engine.ended(fid)).state == ExecutionState.ERROR
        assert await engine.payloads(fid, EventKind.ERROR) == ["killed by Ada"]
        statuses = await engine.payloads(fid, EventKind.STATUS)
        assert statuses == ["starting", "running", "paused", "running", "error"]

    async def test_an_answer_outlives_the_attempt_it_was_given_to(self, engine: Engine) -> None:
        fid = await engine.launch("mode_agent:asks_and_fails_once", retry=Retry(delay=0.05))
        [first] = await open_locks(engine, fid)
        await settle(engine, fid, first, "yes")
        _, second = await open_locks(engine, fid, 2)
        await settle(engine, fid, second, "no")
        assert (await engine.ended(fid)).state == ExecutionState.FINISHED
        assert await engine.payloads(fid, EventKind.FINAL) == ['{"__list__": [{"str": "yes"}, {"str": "no"}]}']
        assert [lease["lid"] for lease in await told(engine, fid, EventKind.LEASE)] == [first, second]
