"""The mailbox: order, batching, bounds, and what a transport's failures do."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from kodosumi.error import ExecutionClosed, TransportLost, TransportUnavailable
from kodosumi.events import Event, EventKind
from kodosumi.runner import mailbox as module
from kodosumi.runner.mailbox import Mailbox, mailbox_for, open_mailbox
from kodosumi.transport.ending import LOSS_NOTICE
from tests.conditions import until
from tests.unit.runner.recorder import Record


def event(text: object) -> Event:
    return Event.now(EventKind.DEBUG, str(text))


async def test_events_of_many_threads_arrive_each_in_its_own_order(ticket, record: Record) -> None:
    mailbox = Mailbox(ticket)

    def post(name: str) -> None:
        for number in range(500):
            mailbox.post([event(f"{name} {number}")])

    threads = [threading.Thread(target=post, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await mailbox.shipped()
    texts = record.payloads("debug")
    assert len(texts) == 2000
    for name in "abcd":
        assert [text for text in texts if text[0] == name] == [f"{name} {number}" for number in range(500)]


async def test_what_gathers_during_a_put_leaves_as_one_batch(ticket, record: Record) -> None:
    mailbox = Mailbox(ticket)
    record.blocked = True
    mailbox.post([event("first")])
    await until(lambda: record.producers)
    await until(lambda: not mailbox._buffer)
    for number in range(100):
        mailbox.post([event(number)])
    record.blocked = False
    await mailbox.shipped()
    assert [len(put) for put in record.puts] == [1, 100]


@pytest.mark.parametrize("bound", ["events", "bytes"])
async def test_a_full_mailbox_lets_threads_and_coroutines_wait(
    ticket, record: Record, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS" if bound == "events" else "MAX_BYTES", 3)
    mailbox = Mailbox(ticket)
    record.blocked = True
    mailbox.post([event("f")])
    await until(lambda: not mailbox._buffer)
    for _ in range(3):
        mailbox.post([event("x")])
    assert mailbox.full
    thread = threading.Thread(target=mailbox.post, args=([event("t")],))
    thread.start()
    task = asyncio.create_task(mailbox.post_async([event("c")]))
    await until(lambda: len(mailbox._gates) == 2)
    assert thread.is_alive() and not task.done()
    record.blocked = False
    assert await task
    await asyncio.to_thread(thread.join)
    await mailbox.shipped()
    assert sorted(record.payloads("debug")) == ["c", "f", "t", "x", "x", "x"]


async def test_an_unreachable_transport_is_tried_again(ticket, record: Record, monkeypatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    record.failures = [TransportUnavailable("away") for _ in range(5)]
    mailbox = Mailbox(ticket)
    mailbox.post([event("a")])
    await mailbox.shipped()
    assert record.payloads("debug") == ["a"]
    assert mailbox.failure is None


async def test_a_loss_is_told_and_what_is_at_hand_still_goes(ticket, record: Record) -> None:
    record.failures = [TransportLost("lost")]
    mailbox = Mailbox(ticket)
    told: list[Exception] = []
    mailbox.on_failure = told.append
    mailbox.post([event("a")])
    await mailbox.shipped()
    assert record.payloads("debug") == ["a"]
    assert [type(exc) for exc in told] == [TransportLost]


@pytest.mark.parametrize("posted_before", [True, False])
async def test_an_end_that_was_made_up_before_a_loss_was_known_says_so(
    ticket, record: Record, posted_before: bool
) -> None:
    mailbox = Mailbox(ticket)
    record.blocked = True
    record.failures = [TransportLost("lost")]
    if not posted_before:
        mailbox.post([event("a")])
        await until(lambda: not mailbox._buffer)
    mailbox.seal([event("b"), Event.now(EventKind.FINAL, "{}"), Event.now(EventKind.STATUS, "finished")])
    record.blocked = False
    await mailbox.shipped()
    assert record.pairs[-3:] == [("debug", "b"), ("error", LOSS_NOTICE), ("status", "error")]
    assert record.payloads("final") == []


async def test_after_the_executions_end_nothing_is_taken(ticket, record: Record) -> None:
    record.failures = [ExecutionClosed("closed")]
    mailbox = Mailbox(ticket)
    assert mailbox.post([event("a")])
    with pytest.raises(ExecutionClosed):
        await mailbox.shipped()
    assert not mailbox.post([event("b")])
    assert not await mailbox.post_async([event("b")])


async def test_a_sealed_mailbox_takes_nothing_more(ticket, record: Record) -> None:
    mailbox = Mailbox(ticket)
    mailbox.seal([event("end")])
    mailbox.seal([event("second end")])
    assert not mailbox.post([event("late")])
    await mailbox.shipped()
    assert record.payloads("debug") == ["end"]


async def test_a_confirming_mailbox_returns_when_the_event_is_in_the_transport(ticket, record: Record) -> None:
    mailbox = mailbox_for(ticket)
    assert mailbox.confirms
    await mailbox.post_async([event("a")])
    assert record.payloads("debug") == ["a"]
    await asyncio.to_thread(mailbox.post, [event("b")])
    assert record.payloads("debug") == ["a", "b"]


async def test_a_process_has_one_mailbox_per_execution(ticket) -> None:
    own = open_mailbox(ticket)
    assert mailbox_for(ticket) is own
    own.seal([])
    assert mailbox_for(ticket) is not own
    assert mailbox_for(ticket).confirms


async def test_a_mailbox_that_nobody_uses_closes_its_producer(ticket, record: Record) -> None:
    mailbox = mailbox_for(ticket)
    await mailbox.post_async([event("a")])
    del mailbox
    await until(lambda: gc.collect() >= 0 and record.closed_producers == 1)
