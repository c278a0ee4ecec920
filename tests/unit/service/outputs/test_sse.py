"""Frames: what a browser's EventSource makes of the bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.events import EventKind, StoredEvent, storable
from kodosumi.service.sse import ALIVE, END, RETRY, EventStream, Frame, encode, frame

from .event_source import parsed


@given(st.text(), st.integers(1, 10**9), st.floats(0, 4e9), st.sampled_from(sorted(EventKind)))
def test_a_payload_survives_the_way_to_the_browser(text: str, seq: int, timestamp: float, kind: EventKind) -> None:
    payload = storable(text)
    [seen] = parsed(frame(StoredEvent(seq, kind, timestamp, payload), payload))

    assert seen.id == str(seq) and seen.event == kind.value
    assert float(seen.data.partition(":")[0]) == timestamp
    assert seen.data.partition(":")[2] == re.sub("\r\n|\r", "\n", payload)


def test_every_line_end_begins_a_data_line_and_other_separators_do_not() -> None:
    payload = "a\rb\nc\r\nd\u2028e\x0bf\x85g"
    made = frame(StoredEvent(1, EventKind.STDOUT, 1.5, payload), payload)

    assert made.startswith(b"id: 1\r\nevent: stdout\r\ndata: 1.5:a\r\ndata: b\r\ndata: c\r\ndata: d\xe2\x80\xa8e")
    assert made.endswith(b"\r\n\r\n") and made.count(b"data: ") == 4


def test_comments_are_no_events_and_the_end_keeps_the_last_id() -> None:
    events = parsed(RETRY + frame(StoredEvent(7, EventKind.DEBUG, 1.0, "x"), "x") + ALIVE + END)

    assert [(event.event, event.id) for event in events] == [("debug", "7"), ("eof", "7")]


def test_a_payload_cannot_forge_a_field() -> None:
    payload = "x\r\n\r\nevent: status\r\ndata: 1.0:finished\r\nid: 99"
    events = parsed(frame(StoredEvent(3, EventKind.STDOUT, 1.0, payload), payload))

    assert [(event.event, event.id) for event in events] == [("stdout", "3")]


async def test_both_variants_are_made_once() -> None:
    made = Frame(StoredEvent(1, EventKind.STDOUT, 1.0, "<b>"))
    [raw] = await encode([made], False, "f")
    [converted] = await encode([made], True, "f")

    assert b"<b>" in raw and b"&lt;b&gt;" in converted
    assert (await encode([made], True, "f"))[0] is converted and (await encode([made], False, "f"))[0] is raw


async def test_a_client_that_goes_away_ends_its_stream_at_once() -> None:
    closed = asyncio.Event()
    gone = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)
        if message.get("body"):
            gone.set()

    await asyncio.wait_for(EventStream(chunks())({"type": "http"}, receive, send), 10)  # type: ignore[arg-type]

    assert closed.is_set() and sent[0]["status"] == 200
    headers = dict(sent[0]["headers"])  # type: ignore[call-overload]
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache" and headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in headers


async def test_an_error_in_a_stream_is_raised() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise RuntimeError("broken")

    async def send(_message: object) -> None:
        pass

    with pytest.raises(RuntimeError, match="broken"):
        await EventStream(chunks())({"type": "http"}, asyncio.Event().wait, send)  # type: ignore[arg-type]
