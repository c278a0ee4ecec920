"""Pauses: whoever makes a tracer call waits, nothing else does, and a cancel lets everybody go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kodosumi.error import TransportLost
from kodosumi.runner.clock import RunClock
from kodosumi.runner.lock_types import BUSY, CANCELLED, PASSED, LockRequest
from kodosumi.runner.main import Runner, RunOutcome
from kodosumi.runner.spec import Attempt
from kodosumi.transport import ProducerTicket
from tests.conditions import until
from tests.unit.runner.recorder import Record, spec_of

flags: dict[str, threading.Event] = {}
CALLS = ["debug", "result", "action", "markdown", "html", "text", "warning", "checkpoint", "fs", "lock"]


@pytest.fixture(autouse=True)
def fresh_flags() -> None:
    flags.update(go=threading.Event(), back=threading.Event())


@pytest.fixture
async def begin(runner: Runner, ticket: ProducerTicket, record: Record) -> Any:
    """Starts a run of a function of this module, and waits until it has printed ``ready``."""
    servings: list[asyncio.Task[RunOutcome]] = []

    async def begun(
        name: str, inputs: Any = None, ready: Callable[[], object] | None = None, attempt: Attempt | None = None
    ) -> asyncio.Task[RunOutcome]:
        spec = replace(spec_of(ticket.fid, f"{__name__}:{name}", inputs), attempt=attempt or Attempt())
        servings.append(asyncio.create_task(runner.run(spec, ticket)))
        await until(ready or (lambda: "ready" in record.payloads("stdout")))
        return servings[-1]

    yield begun
    for flag in flags.values():
        flag.set()
    await runner.cancel(ticket.fid, "the test's end")
    await asyncio.gather(*servings)


async def calls(inputs, tracer):
    print("ready")
    await asyncio.to_thread(flags["go"].wait)
    arguments = () if inputs in ("checkpoint", "fs") else ("x",)
    await getattr(tracer, inputs)(*arguments)
    flags["back"].set()


def calls_plainly(inputs, tracer):
    print("ready")
    flags["go"].wait()
    arguments = () if inputs in ("checkpoint", "fs") else ("x",)
    getattr(tracer, f"{inputs}_sync")(*arguments)
    flags["back"].set()


@pytest.mark.parametrize("name", ["calls", "calls_plainly"])
@pytest.mark.parametrize("call", CALLS)
async def test_every_call_waits_while_its_run_is_paused(begin, runner, ticket, record, name: str, call: str) -> None:
    serving = await begin(name, call)
    assert await runner.pause(ticket.fid, "alice")
    assert record.pairs[-1] == ("status", "paused")
    before = list(record.pairs)
    control = runner._run._control
    flags["go"].set()
    await until(lambda: control._gates)
    assert record.pairs == before
    assert (await runner.current()).paused_by == "alice"

    assert await runner.resume(ticket.fid, "bob")
    assert (await runner.current()).paused_by is None
    if call == "lock":
        await until(lambda: record.payloads("lock"))
        assert await runner.cancel(ticket.fid, "bob")
    await serving
    assert record.payloads("status")[:3] == ["running", "paused", "running"]
    assert len(record.payloads("status")) == 4


async def test_pausing_twice_is_pausing_once(begin, runner, ticket, record) -> None:
    await begin("calls", "debug")
    assert await runner.resume(ticket.fid, "alice")
    for _ in range(2):
        assert all(await asyncio.gather(runner.pause(ticket.fid, "alice"), runner.pause(ticket.fid, "bob")))
    for _ in range(2):
        assert all(await asyncio.gather(runner.resume(ticket.fid, "alice"), runner.resume(ticket.fid, "bob")))
    assert record.payloads("status") == ["running", "paused", "running"]


async def test_a_run_that_is_not_here_or_is_ending_cannot_be_paused(begin, runner, ticket, record) -> None:
    assert not await runner.pause(ticket.fid, "alice")
    serving = await begin("calls", "debug")
    assert not await runner.pause("0" * 24, "alice")
    await runner.cancel(ticket.fid, "alice")
    assert not await runner.pause(ticket.fid, "alice")
    assert not await runner.resume(ticket.fid, "alice")
    flags["go"].set()
    await serving
    assert not await runner.resume(ticket.fid, "alice")
    assert record.payloads("status") == ["running", "error"]


async def waits_in_many_ways(tracer):
    async def one(number):
        await tracer.checkpoint()
        await tracer.debug("never")

    def other(number):
        try:
            tracer.debug_sync("never")
        except asyncio.CancelledError:
            tracer.debug_sync("told")

    print("ready")
    await asyncio.to_thread(flags["go"].wait)
    threads = [threading.Thread(target=other, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        await asyncio.gather(*map(one, range(3)))
    finally:
        for thread in threads:
            thread.join()


async def test_a_cancel_lets_all_go_who_wait_and_tells_each_once(begin, runner, ticket, record) -> None:
    serving = await begin("waits_in_many_ways")
    await runner.pause(ticket.fid, "alice")
    flags["go"].set()
    control = runner._run._control
    await until(lambda: len(control._gates) == 6)
    await runner.cancel(ticket.fid, "alice")
    outcome = await serving
    assert record.payloads("debug") == ["told"] * 3
    assert record.pairs[-2:] == [("error", "killed by alice"), ("status", "error")]
    assert outcome.reusable


async def test_a_lost_queue_ends_a_paused_run(begin, runner, ticket, record) -> None:
    serving = await begin("calls", "debug")
    await runner.pause(ticket.fid, "alice")
    flags["go"].set()
    await until(lambda: runner._run._control._gates)
    record.failures = [TransportLost("lost")]
    runner._run._mailbox.post_now(record.events[:1])
    await serving
    assert record.payloads("error") == ["The event queue was restarted: events of this run were lost."]


async def blocks(tracer):
    print("ready")
    flags["go"].wait()
    print("went on")


async def test_a_pause_neither_waits_for_code_that_blocks_nor_stops_what_it_prints(
    begin, runner, ticket, record
) -> None:
    serving = await begin("blocks")
    assert await runner.pause(ticket.fid, "alice")
    flags["go"].set()
    assert (await serving).state == "finished"
    assert record.payloads("stdout") == ["ready", "went on"]
    assert record.payloads("status") == ["running", "paused", "finished"]


def notes_that_it_was_called():
    flags["back"].set()


async def test_a_run_paused_before_its_code_is_called_waits_there(begin, runner, ticket, record) -> None:
    paused = Attempt(paused_by="alice")
    serving = await begin("notes_that_it_was_called", ready=lambda: record.payloads("status"), attempt=paused)
    assert (await runner.current()).paused_by == "alice"
    assert not flags["back"].is_set()
    assert await runner.resume(ticket.fid, "alice")
    assert (await serving).state == "finished"
    assert record.payloads("status") == ["paused", "running", "finished"]
    assert flags["back"].is_set()


async def test_a_run_cancelled_before_its_code_is_called_never_calls_it(begin, runner, ticket, record) -> None:
    paused = Attempt(paused_by="alice")
    serving = await begin("notes_that_it_was_called", ready=lambda: record.payloads("status"), attempt=paused)
    await runner.cancel(ticket.fid, "bob")
    outcome = await serving
    assert outcome[:3] == ("error", True, "")
    assert record.pairs[-2:] == [("error", "killed by bob"), ("status", "error")]
    assert not flags["back"].is_set()


async def idles(tracer):
    print("ready")
    await asyncio.sleep(600)


async def test_remote_tasks_wait_in_the_runs_process(begin, runner, ticket, record, monkeypatch) -> None:
    await begin("idles", attempt=Attempt(number=2))
    assert await runner.checkpoint(ticket.fid, 2) is PASSED
    # What belongs to another attempt is over.
    assert await runner.checkpoint(ticket.fid, 1) is CANCELLED
    assert await runner.lock(ticket.fid, LockRequest("l0", "ask", "1"), 1) is CANCELLED

    await runner.pause(ticket.fid, "alice")
    held = asyncio.create_task(runner.checkpoint(ticket.fid, 2))
    asking = asyncio.create_task(runner.lock(ticket.fid, LockRequest("l1", "ask", "1"), 2))
    await until(lambda: len(runner._run._control._gates) == 2)
    assert record.payloads("lock") == []
    monkeypatch.setattr("kodosumi.runner.run.MAX_REMOTE_WAITS", 2)
    assert await runner.checkpoint(ticket.fid, 2) is BUSY

    await runner.resume(ticket.fid, "alice")
    assert await held is PASSED
    await until(lambda: record.payloads("lock"))
    await runner.pause(ticket.fid, "alice")
    await runner.cancel(ticket.fid, "alice")
    assert await asking == CANCELLED


class Times:
    """A loop whose time a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Times:
        self.timers.append((self.now + delay_s, callback))
        return self

    def cancel(self) -> None:
        self.timers.pop()


async def test_running_time_stands_still_while_anything_holds_it() -> None:
    reached: list[bool] = []
    clock = RunClock(10.0, lambda: reached.append(True))
    loop = clock._loop = Times()  # type: ignore[assignment]
    loop.now += 5
    assert clock.ran_s == 0.0 and not loop.timers
    clock.start()
    loop.now += 4
    clock.hold("paused", True)
    clock.hold("waiting", True)
    loop.now += 50
    clock.hold("paused", False)
    loop.now += 50
    assert clock.ran_s == 4.0 and not loop.timers
    clock.hold("waiting", False)
    [(at, callback)] = loop.timers
    assert at == loop.now + 6
    loop.now = at
    callback()
    assert reached == [True] and clock.ran_s == 10.0
    clock.stop()
    loop.now += 5
    assert clock.ran_s == 10.0
