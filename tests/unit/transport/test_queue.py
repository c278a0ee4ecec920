"""The queue itself: whatever happens in whatever order, each execution's parcels are kept, in order, for one reader."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kodosumi.events import Position
from kodosumi.transport import commit_log, queue, recollection
from kodosumi.transport.answers import Bounds, Outcome, PutAnswer
from kodosumi.transport.commit_log import CommitLog
from kodosumi.transport.queue import EventQueue
from kodosumi.transport.recollection import Memory

ROOMY = Bounds(max_events=1000, max_bytes=1_000_000)


async def put(
    made: EventQueue,
    fid: str,
    seq: int,
    *,
    producer: str = "p",
    count: int = 1,
    ends: bool = False,
    wire: bytes = b"x",
    past: Position | None = None,
    attempt: int | None = None,
) -> PutAnswer:
    return await made.put(fid, "owner", producer, seq, past, False, False, count, ends, wire, attempt)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "take", "take", "ack", "release", "leave"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["one", "two"]),
    ),
    max_size=60,
)


@given(STEPS)
@settings(deadline=None)
def test_every_parcel_is_given_in_order_to_one_reader_until_acknowledged(steps: list[tuple[str, str, str]]) -> None:
    asyncio.run(_walk(steps))


async def _walk(steps: list[tuple[str, str, str]]) -> None:
    made = EventQueue(ROOMY)
    accepted: dict[str, list[int]] = defaultdict(list)
    held: dict[str, dict[str, list[int]]] = {"one": {}, "two": {}}
    acked: dict[str, int] = defaultdict(int)

    async def take(consumer: str, max_events: int) -> None:
        _, taken = await made.take(consumer, 0, max_events, 0.0)
        for fid, _, parcels, _ in taken or []:
            other = held["two" if consumer == "one" else "one"]
            assert fid not in other, "two readers at once"
            mine = held[consumer].setdefault(fid, [])
            mine.extend(offset for offset, *_ in parcels)
            unstored = [offset for offset in accepted[fid] if offset > acked[fid]]
            assert mine == unstored[: len(mine)], "a gap, or out of order"

    for number, (step, fid, consumer) in enumerate(steps, 1):
        if step == "put":
            accepted[fid].append((await put(made, fid, number)).offset)
        elif step == "take":
            await take(consumer, 2)
        elif step == "release":
            made.release(consumer, fid)
            held[consumer].pop(fid, None)
        elif step == "leave":
            made.leave(consumer)
            held[consumer].clear()
        elif held[consumer].get(fid):
            acked[fid] = held[consumer].pop(fid)[0]
            made.ack(consumer, [(fid, made.epoch, acked[fid])])
            # The rest of what it held it still holds.
            line = made._lines.get(fid)
            if line is not None and line.held:
                held[consumer][fid] = [parcel.offset for parcel in line.held]

    for consumer in held:
        made.leave(consumer)
        held[consumer].clear()
    await take("one", 10_000)
    for fid, offsets in accepted.items():
        assert held["one"].get(fid, []) == [offset for offset in offsets if offset > acked[fid]]


@given(st.lists(st.sampled_from([None, 1, 2, 3, "ack"]), max_size=40))
@settings(deadline=None)
def test_attempts_follow_one_another_in_whatever_order_their_puts_come(steps: list[int | str | None]) -> None:
    asyncio.run(_race(steps))


async def _race(steps: list[int | str | None]) -> None:
    made = EventQueue(Bounds(max_events=2, max_bytes=1000))
    putting: list[tuple[int | None, asyncio.Task[PutAnswer]]] = []
    given: list[int] = []

    async def store() -> None:
        _, taken = await made.take("c", 0, 1000, 0.0)
        for fid, _, parcels, _ in taken or []:
            given.extend(offset for offset, *_ in parcels)
            made.ack("c", [(fid, made.epoch, given[-1])])
        await asyncio.sleep(0)

    for number, attempt in enumerate(steps):
        if isinstance(attempt, str):
            await store()
            continue
        task = asyncio.create_task(put(made, "f", 1, producer=f"p{number}", attempt=attempt))
        putting.append((attempt, task))
        await asyncio.sleep(0)
    while not all(task.done() for _, task in putting):
        await store()
    await store()

    taken = {task.result().offset: attempt for attempt, task in putting if task.result().outcome is Outcome.TAKEN}
    assert given == sorted(taken)
    told = [attempt for offset in given if (attempt := taken[offset]) is not None]
    assert told == sorted(told), "something of an earlier attempt after a later one"
    refused = [attempt for attempt, task in putting if task.result().outcome is Outcome.OVERTAKEN]
    assert len(taken) + len(refused) == len(putting)
    assert None not in refused and max(told, default=None) not in refused
    assert made.status().waiting_producers == 0 and not made._stalled


async def test_nothing_is_kept_of_executions_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_CLOSED", 50)
    monkeypatch.setattr(commit_log, "MAX_LOG", 50)
    made = EventQueue(ROOMY)
    for number in range(500):
        await put(made, f"f{number}", 1)
        await put(made, f"f{number}", 2, ends=True)
        _, taken = await made.take("c", 0, 10, 0.0)
        made.ack("c", [(fid, made.epoch, parcels[-1][0]) for fid, _, parcels, _ in taken or []])
    [reader] = made._readers.values()

    assert (made._lines, made._stalled, made._unclaimed, reader.lines, reader.ready) == ({}, {}, {}, {}, {})
    assert made._bytes == 0
    assert len(made._closed) == 50
    assert len(made._log._entries) == 50


async def test_a_put_that_is_asked_again_takes_the_place_of_the_one_that_waits() -> None:
    made = EventQueue(Bounds(max_events=1, max_bytes=1000))
    await put(made, "f", 1)
    first = asyncio.create_task(put(made, "f", 2))
    await asyncio.sleep(0)
    second = asyncio.create_task(put(made, "f", 2))
    await asyncio.sleep(0)
    made.ack("c", [("f", made.epoch, 1)])

    assert (await first).outcome is Outcome.AGAIN
    assert (await second).outcome is Outcome.TAKEN
    assert made.status()[0] == 1


async def test_a_put_is_asked_again_when_it_waited_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "HOLD_PUT_S", 0.01)
    made = EventQueue(Bounds(max_events=1, max_bytes=1000))
    await put(made, "f", 1)

    assert (await put(made, "f", 2)).outcome is Outcome.AGAIN
    assert not made._lines["f"].waiters


async def test_producers_of_one_execution_are_let_in_as_they_came() -> None:
    made = EventQueue(Bounds(max_events=1, max_bytes=1000))
    await put(made, "f", 1)
    waiting = []
    for name in ("first", "second", "third"):
        waiting.append(asyncio.create_task(put(made, "f", 1, producer=name)))
        await asyncio.sleep(0)

    for offset in (1, 2, 3):
        made.ack("c", [("f", made.epoch, offset)])

    assert [(await answer).offset for answer in waiting] == [2, 3, 4]


async def test_a_consumer_that_knew_another_queue_must_tell_what_it_remembers() -> None:
    made = EventQueue(ROOMY)

    epoch, taken = await made.take("c", made.epoch - 1, 10, 0.0)

    assert (epoch, taken) == (made.epoch, None)
    made.tell("c", {})
    assert await made.take("c", epoch, 10, 0.0) == (epoch, [])


async def test_positions_of_a_dead_queue_acknowledge_nothing_of_this_one() -> None:
    made = EventQueue(ROOMY)
    await put(made, "f", 1)

    made.ack("c", [("f", made.epoch - 1, 1_000)])

    assert made.status()[0] == 1


async def test_a_position_in_the_running_queue_is_no_cause_for_a_verdict() -> None:
    made = EventQueue(ROOMY)

    answer = await made.put("f", "owner", "p", 1, Position(made.epoch, 7), True, True, 1, False, b"x")

    assert answer.outcome is Outcome.TAKEN


def heard_of_attempt(attempt: int, epoch: int) -> Memory:
    memory = Memory()
    memory.taken("f", Position(epoch, 2), "q", 1, attempt)
    return memory


async def test_an_attempt_of_before_a_restart_shuts_out_earlier_ones_as_soon_as_a_consumer_tells_of_it() -> None:
    made = EventQueue(Bounds(max_events=1, max_bytes=1000))
    await put(made, "f", 1, producer="other")
    late = asyncio.create_task(put(made, "f", 1, attempt=1))
    await asyncio.sleep(0)

    made.tell("c", heard_of_attempt(2, made.epoch - 1).traces)

    assert (await late).outcome is Outcome.OVERTAKEN
    assert (await put(made, "f", 2, attempt=1)).outcome is Outcome.OVERTAKEN
    made.ack("c", [("f", made.epoch, 1)])
    assert (await put(made, "f", 1, producer="q", attempt=2)).outcome is Outcome.TAKEN
    _, taken = await made.take("c", made.epoch, 10, 0.0)
    assert [one.attempt for one in taken or []] == [2]


async def test_an_earlier_attempt_is_not_told_of_a_loss_that_is_none_of_its_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recollection, "RECALL_S", 0.0)
    # Whoever tells is not waited for.
    monkeypatch.setattr(queue, "LEASE_S", -1.0)
    made = EventQueue(ROOMY)
    lost = Position(made.epoch - 1, 1)
    assert (await put(made, "f", 2, past=lost, attempt=1)).outcome is Outcome.LOST

    made.tell("c", heard_of_attempt(2, made.epoch - 1).traces)
    await made.put("f", "owner", "q", 2, None, False, False, 1, False, b"x", 2)

    assert (await put(made, "f", 2, past=lost, attempt=1)).outcome is Outcome.OVERTAKEN
    assert (await put(made, "f", 2, past=lost, attempt=2)).outcome is Outcome.LOST


async def test_a_feed_that_slept_through_too_much_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_log, "MAX_LOG", 3)
    log = CommitLog()
    log.note(["a"], 1.0)
    cursor = (await log.read(0, 0.0)).cursor
    log.note(["b", "c", "d"], 2.0)

    behind = await log.read(cursor, 0.0)
    assert (sorted(behind.fids), behind.complete) == (["b", "c", "d"], True)
    log.note(["e"], 3.0)
    assert not (await log.read(cursor, 0.0)).complete
    assert (await log.read(behind.cursor, 0.0)).fids == ["e"]


async def test_a_feed_begins_with_what_came_after_it_was_made() -> None:
    log = CommitLog()
    log.note(["before"], 1.0)
    log.note(["after"], 3.0)

    assert (await log.read(log.begin(2.0), 0.0)).fids == ["after"]
    assert (await log.read(log.begin(4.0), 0.0)).fids == []


async def test_an_execution_acknowledged_often_is_named_once() -> None:
    log = CommitLog()
    for _ in range(5):
        log.note(["a", "b"], 1.0)

    assert sorted((await log.read(0, 0.0)).fids) == ["a", "b"]
