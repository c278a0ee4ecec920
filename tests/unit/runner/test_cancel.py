"""Cancel: user code is told once, has its time to clean up, and the run ends whatever it does."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from kodosumi.error import ExecutionClosed, TransportLost
from kodosumi.runner import run as run_module
from kodosumi.runner.main import Runner, RunOutcome
from tests.conditions import until
from tests.unit.runner.recorder import Record, spec_of

flags: dict[str, threading.Event] = {}


@pytest.fixture(autouse=True)
def fresh_flags() -> None:
    flags.update(hold=threading.Event(), stopped=threading.Event())


@pytest.fixture
def begin(runner: Runner, ticket, record: Record) -> Callable[..., Any]:
    """Starts a run of a function of this module and waits until it has printed ``ready``."""

    async def begun(name: str) -> asyncio.Task[RunOutcome]:
        serving = asyncio.create_task(runner.run(spec_of(ticket.fid, f"{__name__}:{name}"), ticket))
        await until(lambda: "ready" in record.payloads("stdout"))
        return serving

    return begun


async def waits(tracer):
    print("ready")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        await tracer.debug(f"cleaning, cancelled={tracer.cancelled}")
        raise


def spins(tracer):
    try:
        print("ready")
        while True:
            time.sleep(0.001)
    except asyncio.CancelledError:
        tracer.debug_sync(f"cleaning, cancelled={tracer.cancelled}")
        raise


@pytest.mark.parametrize(("name", "reusable"), [("waits", True), ("spins", False)])
async def test_user_code_is_told_and_cleans_up(begin, runner, ticket, record, name: str, reusable: bool) -> None:
    serving = await begin(name)
    assert await runner.cancel(ticket.fid, "alice")
    assert await runner.cancel(ticket.fid, "bob")
    outcome = await serving
    assert record.pairs[-3:] == [
        ("debug", "cleaning, cancelled=True"),
        ("error", "killed by alice"),
        ("status", "error"),
    ]
    assert outcome.state == "error"
    assert outcome.reusable is reusable


def asks(tracer):
    print("ready")
    while not tracer.cancelled:
        flags["stopped"].wait(0.001)
    return "asked"


async def test_user_code_that_returns_when_told_is_killed_by_its_canceller_all_the_same(
    begin, runner, ticket, record
) -> None:
    serving = await begin("asks")
    await runner.cancel(ticket.fid, "alice")
    await serving
    assert record.payloads("error") == ["killed by alice"]
    assert record.payloads("final") == []


async def blocks_its_loop(tracer):
    print("ready")
    flags["hold"].wait(60)
    try:
        tracer.debug_sync("told here")
    except asyncio.CancelledError:
        tracer.debug_sync("cleaning")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tracer.debug_sync("cleaned")


async def test_a_blocked_loop_is_told_by_the_next_tracer_call_and_only_once(begin, runner, ticket, record) -> None:
    serving = await begin("blocks_its_loop")
    assert await runner.cancel(ticket.fid, "alice")
    flags["hold"].set()
    outcome = await serving
    assert record.payloads("debug") == ["cleaning", "cleaned"]
    assert record.payloads("error") == ["killed by alice"]
    assert outcome.reusable


def ignores(tracer):
    try:
        print("ready")
        flags["hold"].wait(60)
    except asyncio.CancelledError:
        # It was told before it waited.
        flags["hold"].wait(60)
    print("too late")
    sys.stdout.write("too late")
    tracer.debug_sync("too late")
    flags["stopped"].set()


async def test_user_code_that_does_not_stop_is_left_to_the_pool(begin, runner, ticket, record, monkeypatch) -> None:
    monkeypatch.setattr(run_module, "GRACE_S", 0.05)
    serving = await begin("ignores")
    assert await runner.cancel(ticket.fid, "alice")
    outcome = await serving
    assert record.pairs[-2:] == [("error", "killed by alice"), ("status", "error")]
    assert outcome[:3] == ("error", False, "user code did not stop when it was cancelled")
    flags["hold"].set()
    # What it says belongs to no run, but to none of the next test either.
    await until(flags["stopped"].is_set)


async def test_a_run_that_is_not_here_cannot_be_cancelled(begin, runner, ticket) -> None:
    assert not await runner.cancel(ticket.fid, "alice")
    serving = await begin("waits")
    assert not await runner.cancel("0" * 24, "alice")
    assert (await runner.current()).spec.fid == ticket.fid
    with pytest.raises(RuntimeError, match="already serves"):
        await runner.run(spec_of("1" * 24, dict), ticket)
    held = asyncio.create_task(runner.wait())
    await runner.cancel(ticket.fid, "alice")
    assert await held == await serving == await runner.wait()
    assert await runner.current() is None


async def floods(tracer):
    print("ready")
    number = 0
    while True:
        number += 1
        await tracer.debug(str(number))


def floods_plainly(tracer):
    print("ready")
    number = 0
    while True:
        number += 1
        tracer.debug_sync(str(number))


@pytest.mark.parametrize("name", ["floods", "floods_plainly"])
async def test_code_that_waits_for_a_full_mailbox_is_told(begin, runner, ticket, record, monkeypatch, name) -> None:
    monkeypatch.setattr("kodosumi.runner.mailbox.MAX_EVENTS", 10)
    serving = await begin(name)
    record.blocked = True
    mailbox = runner._run._mailbox
    await until(lambda: mailbox.full and mailbox._gates)
    assert await runner.cancel(ticket.fid, "alice")
    await until(lambda: runner._run._user.done.done())
    record.blocked = False
    await serving
    numbers = record.payloads("debug")
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert record.payloads("error") == ["killed by alice"]


async def test_a_lost_queue_ends_the_run_and_says_so(begin, record) -> None:
    serving = await begin("emits_when_told")
    record.failures = [TransportLost("lost")]
    flags["hold"].set()
    outcome = await serving
    assert record.payloads("error") == ["The event queue was restarted: events of this run were lost."]
    assert record.pairs[-1] == ("status", "error")
    assert outcome.state == "error"


async def test_a_run_that_was_ended_elsewhere_stops_quietly(begin, record) -> None:
    serving = await begin("emits_when_told")
    record.failures = [ExecutionClosed("closed")]
    flags["hold"].set()
    outcome = await serving
    assert record.payloads("error") == []
    assert outcome[:3] == ("error", False, "the execution was ended elsewhere")


async def emits_when_told(tracer):
    print("ready")
    await asyncio.to_thread(flags["hold"].wait, 60)
    await tracer.debug("one more")
    await asyncio.sleep(600)


async def test_an_unexpected_failure_of_the_transport_is_raised(begin, record) -> None:
    serving = await begin("emits_when_told")
    record.failures = [ZeroDivisionError("a bug")]
    flags["hold"].set()
    with pytest.raises(ZeroDivisionError):
        await serving
