"""Attempts: what a further call of a run's code tells, when an attempt ends without an end, and how long it may run."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cloudpickle
import pytest

from kodosumi.core import InputsError, Retry, Tracer, TracerMock
from kodosumi.error import AttemptOver, ExecutionClosed, TransportLost
from kodosumi.events import new_fid
from kodosumi.runner.lock_types import LockAnswer
from kodosumi.runner.main import Runner
from kodosumi.runner.retrying import portable, worth_another
from kodosumi.runner.spec import Attempt, AttemptEnd, RunSpec, UploadedFile
from kodosumi.runner.tracer import RunHome
from kodosumi.transport import ProducerTicket
from tests.conditions import until
from tests.unit.runner.recorder import RECORDS, Record, spec_of

flags: dict[str, threading.Event] = {}


@pytest.fixture(autouse=True)
def fresh_flags() -> None:
    flags.update(go=threading.Event(), called=threading.Event())


@pytest.fixture
def spec(ticket: ProducerTicket) -> Callable[..., RunSpec]:
    def made(name: str, inputs: Any = None, **changes: Any) -> RunSpec:
        return replace(spec_of(ticket.fid, f"{__name__}:{name}", inputs), **changes)

    return made


def says_which(tracer):
    flags["called"].set()
    tracer.debug_sync(f"attempt {tracer.attempt}")


async def test_a_further_attempt_tells_its_number_and_why(runner: Runner, ticket, record: Record, spec) -> None:
    uploads = (UploadedFile("in/a", 1, 2.0),)
    attempt = Attempt(number=2, reason="it was lost")
    outcome = await runner.run(spec("says_which", uploads=uploads, attempt=attempt), ticket)
    assert record.pairs == [
        ("attempt", '{"dict": {"number": 2, "reason": "it was lost"}}'),
        ("status", "running"),
        ("debug", "attempt 2"),
        ("final", '{"NoneType": null}'),
        ("status", "finished"),
    ]
    assert (outcome.end, outcome.failure, outcome.kept) == (AttemptEnd.OVER, "", ())


async def test_a_durable_runs_further_attempt_was_told_by_others(runner: Runner, ticket, record: Record, spec) -> None:
    attempt = Attempt(number=2, reason="it was lost")
    await runner.run(spec("says_which", durable=True, attempt=attempt), ticket)
    assert record.pairs[:2] == [("status", "running"), ("debug", "attempt 2")]


async def test_a_durable_run_begins_when_its_first_event_is_in_the_transport(
    runner: Runner, ticket, record: Record, spec
) -> None:
    record.blocked = True
    serving = asyncio.create_task(runner.run(spec("says_which", durable=True), ticket))
    await until(lambda: record.producers)
    assert not flags["called"].is_set()
    record.blocked = False
    assert (await serving).end == AttemptEnd.OVER
    assert flags["called"].is_set()


async def test_a_durable_run_cancelled_before_that_is_killed(runner: Runner, ticket, record: Record, spec) -> None:
    record.blocked = True
    serving = asyncio.create_task(runner.run(spec("says_which", durable=True), ticket))
    await until(lambda: record.producers)
    await runner.cancel(ticket.fid, "alice")
    record.blocked = False
    await serving
    assert record.payloads("error") == ["killed by alice"]
    assert not flags["called"].is_set()


@pytest.mark.parametrize("error", [AttemptOver, ExecutionClosed])
async def test_an_attempt_that_comes_too_late_is_never_called(
    runner: Runner, ticket, record: Record, spec, error: type[ExecutionClosed]
) -> None:
    record.failures = [error("too late")]
    outcome = await runner.run(spec("says_which", durable=True, attempt=Attempt(number=2)), ticket)
    assert outcome.end == AttemptEnd.CLOSED
    assert record.events == []
    assert not flags["called"].is_set()
    assert await runner.current() is None


async def emits_when_told(tracer):
    print("ready")
    await asyncio.to_thread(flags["go"].wait, 60)
    await tracer.debug("one more")
    await asyncio.sleep(600)


async def test_an_attempt_that_is_overtaken_stops_quietly(runner: Runner, ticket, record: Record, spec) -> None:
    serving = asyncio.create_task(runner.run(spec("emits_when_told", durable=True), ticket))
    await until(lambda: record.payloads("stdout"))
    record.failures = [AttemptOver("overtaken")]
    flags["go"].set()
    assert (await serving).end == AttemptEnd.CLOSED
    assert record.payloads("error") == []


# retries -------------------------------------------------------------------------------------------------------------


class Busy(ConnectionError):
    """What an author may name."""


async def fails(inputs, tracer):
    await tracer.debug(f"attempt {tracer.attempt}")
    raise Busy("try " + "again" * inputs)


async def test_what_is_to_be_called_again_ends_without_an_end(runner: Runner, ticket, record: Record, spec) -> None:
    outcome = await runner.run(spec("fails", 1, retry=portable(Retry(on=[ConnectionError]))), ticket)
    assert (outcome.state, outcome.reusable, outcome.end) == ("running", True, AttemptEnd.RAISED)
    assert outcome.failure.startswith("Traceback") and outcome.failure.endswith("Busy: try again")
    assert outcome.ran_s > 0
    assert record.pairs == [("status", "running"), ("debug", "attempt 1")]
    # The same process may serve the next one, and what it tells isn't taken for the first one's.
    again = spec("fails", 9_999, retry=Retry(), attempt=Attempt(number=2, reason=outcome.failure))
    outcome = await runner.run(again, ticket)
    assert len(outcome.failure) < 4_100 and "characters left out" in outcome.failure
    assert record.payloads("debug") == ["attempt 1", "attempt 2"]
    again = replace(again, attempt=Attempt(number=3, last=True))
    assert (await runner.run(again, ticket)).end == AttemptEnd.OVER
    assert record.pairs[-1] == ("status", "error")


def exits():
    raise SystemExit


def refuses():
    raise InputsError("no")


def is_cancelled():
    raise asyncio.CancelledError


class Unloadable:
    def __reduce__(self):
        return unload, ()


def unload():
    raise Busy


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("exits", None),
        ("refuses", None),
        ("is_cancelled", None),
        ("missing", None),
        ("says_which", Unloadable()),
    ],
)
async def test_what_would_happen_again_is_not_called_again(runner, ticket, record, spec, name, inputs) -> None:
    outcome = await runner.run(spec(name, inputs, retry=Retry(on=("BaseException",))), ticket)
    assert outcome.end == AttemptEnd.OVER
    assert [kind for kind, _ in record.pairs[-2:]] == ["error", "status"]


async def fails_when_cancelled():
    print("ready")
    try:
        await asyncio.sleep(600)
    finally:
        raise Busy


async def test_a_cancelled_run_is_not_called_again(runner, ticket, record, spec) -> None:
    serving = asyncio.create_task(runner.run(spec("fails_when_cancelled", retry=Retry()), ticket))
    await until(lambda: record.payloads("stdout"))
    await runner.cancel(ticket.fid, "alice")
    assert (await serving).end == AttemptEnd.OVER
    assert record.payloads("error") == ["killed by alice"]


async def fails_when_told(tracer):
    print("ready")
    await asyncio.to_thread(flags["go"].wait, 60)
    tracer.debug_sync("last words")
    raise Busy


async def test_events_lost_after_all_was_decided_end_the_run(runner, ticket, record, spec) -> None:
    serving = asyncio.create_task(runner.run(spec("fails_when_told", retry=Retry()), ticket))
    await until(lambda: record.payloads("stdout"))
    record.blocked = True
    flags["go"].set()
    await until(lambda: runner._run._mailbox.closed)
    record.failures = [TransportLost("lost")]
    record.blocked = False
    assert (await serving).end == AttemptEnd.OVER
    assert record.pairs[-2:] == [
        ("error", "The event queue was restarted: events of this run were lost."),
        ("status", "error"),
    ]


@pytest.mark.parametrize(
    ("on", "matches"),
    [
        ((), True),
        ((Busy,), True),
        ((ConnectionError,), True),
        (("OSError",), True),
        ((f"{__name__}.Busy",), True),
        ("Busy", True),
        (ValueError, False),
        (("builtins.KeyError", TypeError), False),
        (("other.Busy",), False),
    ],
)
def test_an_exception_is_found_by_its_classes_or_their_names(on: Any, matches: bool) -> None:
    retry = portable(Retry(on=on))
    assert all(isinstance(name, str) for name in retry.on)
    assert worth_another(Busy(), retry, Attempt()) is matches
    assert not worth_another(Busy(), retry, Attempt(last=True))
    assert not worth_another(Busy(), replace(retry, max_attempts=1), Attempt())
    assert not worth_another(Busy(), None, Attempt())


@pytest.mark.parametrize(
    ("retry", "says"),
    [
        (3, "give a kodosumi.core.Retry"),
        (Retry(max_attempts=0), "max_attempts=0"),
        (Retry(max_attempts=True), "max_attempts=True"),
        (Retry(delay=-1), "delay=-1"),
        (Retry(delay=float("inf")), "delay=inf"),
        (Retry(on=[int]), "on="),  # type: ignore[list-item]
        (Retry(on=[""]), "on="),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(retry: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        portable(retry)


# tracers -------------------------------------------------------------------------------------------------------------


async def test_a_tracer_says_which_attempt_it_is_wherever_it_goes(ticket) -> None:
    second = replace(ticket, attempt=2)
    tracer = Tracer(second, RunHome(attempt=2))
    copy = pickle.loads(pickle.dumps(tracer))
    assert (Tracer(ticket).attempt, tracer.attempt, copy.attempt) == (1, 2, 2)
    # In a process that has tracers of both, neither tells in the other's name.
    assert copy._mailbox is tracer._mailbox is not Tracer(replace(ticket, attempt=1))._mailbox
    assert copy._mailbox.ticket.attempt == 2
    assert pickle.loads(pickle.dumps(TracerMock(attempt=3))).attempt == 3


async def test_a_mock_passes_its_checkpoints_until_it_is_cancelled() -> None:
    mock = TracerMock()
    await mock.checkpoint()
    mock.checkpoint_sync()
    mock.cancelled = True
    with pytest.raises(asyncio.CancelledError):
        await mock.checkpoint()
    with pytest.raises(asyncio.CancelledError):
        mock.checkpoint_sync()


# running time --------------------------------------------------------------------------------------------------------


async def takes_forever(tracer):
    await asyncio.sleep(600)


async def test_a_run_that_takes_too_long_is_ended(runner, ticket, record, spec) -> None:
    attempt = Attempt(number=2, time_limit_s=0.2, ran_s=3599.8)
    outcome = await runner.run(spec("takes_forever", retry=Retry(), attempt=attempt), ticket)
    assert outcome.end == AttemptEnd.OVER
    assert record.pairs[-2:] == [
        (
            "error",
            "TimeLimitExceeded: the run took longer than 3600 s of running time (KODO_TEMPORAL_EXECUTION_TIMEOUT)",
        ),
        ("status", "error"),
    ]


async def asks_first(tracer):
    return await tracer.lock("ask")


class Ahead:
    """A loop whose time a test sets forward."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.by_s = 0.0

    def time(self) -> float:
        return self._loop.time() + self.by_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s, callback)


async def test_waiting_for_a_lock_or_in_a_pause_is_no_running_time(runner, ticket, record, spec) -> None:
    limit_s = 60.0
    serving = asyncio.create_task(runner.run(spec("asks_first", attempt=Attempt(time_limit_s=limit_s)), ticket))
    await until(lambda: record.payloads("lock"))
    loop = runner._run._clock._loop = Ahead()
    loop.by_s += limit_s
    await runner.pause(ticket.fid, "alice")
    lid = json.loads(record.payloads("lock")[0])["dict"]["lid"]
    await runner.claim_lock(ticket.fid, lid, "c")
    await runner.settle_lock(ticket.fid, lid, "c", LockAnswer(cloudpickle.dumps(1), "1", "bob", 1.0))
    loop.by_s += limit_s
    await runner.resume(ticket.fid, "alice")
    outcome = await serving
    assert (outcome.state, outcome.ran_s < limit_s) == ("finished", True)


async def test_the_events_of_a_run_without_trouble_are_what_they_were(runner, spec) -> None:
    """Whether its attempts are told apart or not."""
    seen = []
    for changes in ({}, {"retry": Retry()}, {"durable": True, "attempt": Attempt(time_limit_s=60.0)}):
        ticket = ProducerTicket(new_fid(), "tester", "recorder", {}, max_event_bytes=1_000_000)
        await runner.run(replace(spec("says_which", **changes), fid=ticket.fid), ticket)
        seen.append(RECORDS[ticket.fid].pairs)
    assert seen[0] == seen[1] == seen[2]
