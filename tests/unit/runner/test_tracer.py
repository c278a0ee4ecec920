"""The tracer: what each call emits, in this process and in others, and its stand-in for tests."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from kodosumi.core import Retry, Tracer, TracerMock
from kodosumi.error import PayloadTooLarge
from kodosumi.runner.mailbox import mailbox_for, open_mailbox
from kodosumi.runner.tracer import RunControl
from tests.conditions import until
from tests.unit.runner.recorder import Record

CALLS: list[tuple[str, tuple[Any, ...], list[tuple[str, Any]]]] = [
    ("debug", ("a", "b"), [("debug", "a\nb")]),
    ("result", (1, None), [("result", {"int": 1}), ("result", {"NoneType": None})]),
    ("result", (), []),
    ("action", ({"a": 1},), [("action", {"dict": {"a": 1}})]),
    ("markdown", ("# a", "b"), [("result", {"Markdown": {"body": "# a\n\nb"}})]),
    ("html", ("<p>", "</p>"), [("result", {"HTML": {"body": "<p>\n</p>"}})]),
    ("text", ("a", "é"), [("result", {"Text": {"body": "a\né"}})]),
    ("warning", ("a", "b"), [("stderr", "a\nb")]),
]


def seen(events: list[Any]) -> list[tuple[str, Any]]:
    return [
        (event.kind, json.loads(event.payload) if event.payload.startswith("{") else event.payload) for event in events
    ]


@pytest.mark.parametrize(("name", "args", "expected"), CALLS)
async def test_both_twins_of_a_call_emit_the_same(ticket, record: Record, name, args, expected) -> None:
    mock, tracer = TracerMock(), Tracer(ticket)
    await getattr(mock, name)(*args)
    getattr(mock, f"{name}_sync")(*args)
    assert seen(mock.events) == expected * 2
    await getattr(tracer, name)(*args)
    await asyncio.to_thread(getattr(tracer, f"{name}_sync"), *args)
    assert seen(record.events) == expected * 2


def test_every_call_has_its_twin() -> None:
    public = {name for name, _ in inspect.getmembers(Tracer, inspect.isfunction) if not name.startswith("_")}
    twins = {name.removesuffix("_sync") for name in public if name.endswith("_sync")}
    assert twins == {"debug", "result", "action", "markdown", "html", "text", "warning", "lock", "fs", "checkpoint"}
    assert public - {f"{name}_sync" for name in twins} - twins == {"emit"}


def test_every_call_and_attribute_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/tracer.md").read_text()
    public = {name for name in dir(Tracer) if not name.startswith("_") and not name.endswith("_sync")} - {"emit"}
    assert [name for name in sorted(public) if f"`{name}" not in text] == []
    assert [field.name for field in dataclasses.fields(Retry) if f"| `{field.name}` |" not in text] == []


async def test_a_warning_can_carry_a_traceback() -> None:
    mock = TracerMock()
    try:
        raise ValueError("bad")
    except ValueError as exc:
        mock.warning_sync("careful", exc_info=True)
        kept = exc
    await mock.warning("careful", exc_info=kept)
    first, second = [event.payload for event in mock.events]
    assert first == second
    assert first.startswith("careful\nTraceback") and first.endswith("ValueError: bad")


async def test_a_tracer_from_another_process_returns_when_its_event_is_in_the_transport(ticket, record: Record) -> None:
    copy = pickle.loads(pickle.dumps(Tracer(ticket)))
    assert copy.fid == ticket.fid
    await copy.debug("a")
    assert record.payloads("debug") == ["a"]
    assert record.producers == 1
    assert not copy.cancelled


async def test_a_tracer_pickled_within_its_run_stays_the_runs(ticket, record: Record) -> None:
    own = open_mailbox(ticket)
    copy = pickle.loads(pickle.dumps(Tracer(ticket)))
    assert copy._mailbox is own


async def test_a_pickled_tracer_knows_the_epoch_its_run_began_in(ticket, record: Record) -> None:
    tracer = Tracer(ticket)
    await tracer.debug("first")
    assert tracer.__reduce__()[1][0].epoch == 1


async def test_handing_a_tracer_on_waits_for_what_was_told_before(ticket, record: Record) -> None:
    own = open_mailbox(ticket)
    tracer = Tracer(ticket)
    assert tracer._mailbox is own
    record.blocked = True
    await tracer.debug("before")
    handed = asyncio.create_task(asyncio.to_thread(pickle.dumps, tracer))
    await until(lambda: record.producers)
    assert not (await asyncio.wait({handed}, timeout=0.1))[0]
    record.blocked = False
    await handed
    assert record.payloads("debug") == ["before"]


async def test_who_hands_a_tracer_on_is_let_go_by_a_cancel(ticket, record: Record) -> None:
    own = open_mailbox(ticket)
    control = RunControl(ticket.fid)
    tracer = Tracer(ticket, control=control)
    record.blocked = True
    await tracer.debug("never there")
    handed = asyncio.create_task(asyncio.to_thread(pickle.dumps, tracer))
    await until(lambda: own._gates)
    control.cancelled = True
    own.wake()
    await handed
    assert record.payloads("debug") == []
    record.blocked = False


async def test_after_the_end_a_call_warns_and_drops(ticket, record: Record, caplog) -> None:
    tracer = Tracer(ticket)
    mailbox_for(ticket).seal([])
    with caplog.at_level(logging.WARNING, "kodosumi.tracer"):
        await tracer.debug("late")
        tracer.debug_sync("later")
    assert [record.message for record in caplog.records] == [
        f"run {ticket.fid} is over: 1 event(s) dropped (debug)"
    ] * 2
    assert record.events == []
    assert tracer.cancelled


async def test_an_event_above_the_limit_fails_in_the_authors_call(ticket, record: Record) -> None:
    tracer = Tracer(ticket)
    with pytest.raises(PayloadTooLarge, match=r"1,000,010 bytes.*1,000,000: return a file or less"):
        await tracer.debug("é" * 500_005)
    with pytest.raises(PayloadTooLarge):
        tracer.result_sync("x" * 1_000_000)
    await tracer.debug("é" * 500_000)
    await until(lambda: len(record.events) == 1)


async def test_a_result_above_the_limit_ends_the_run_with_its_size(serve) -> None:
    served = await serve(lambda: "x" * 2_000_000)
    assert served.record.payloads("final") == []
    assert "The final event has 2,000,011 bytes, the limit" in served.record.payloads("error")[0]
    assert served.record.pairs[-1] == ("status", "error")


def test_a_mock_keeps_its_events_when_pickled() -> None:
    mock = TracerMock("f" * 24)
    mock.debug_sync("a")
    copy = pickle.loads(pickle.dumps(mock))
    assert (copy.fid, copy.events) == (mock.fid, mock.events)
    assert not mock.cancelled
    mock.cancelled = True
    assert mock.cancelled
