"""Server-sent events: the bytes of a frame, and the response that carries them.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html, with the published fields: ``id`` is the
event's ``seq``, ``event`` its kind, ``data`` is ``<timestamp>:<payload>``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..events import EventKind, StoredEvent
from ..runner.formatter import CONVERTED_KINDS, MAX_CONVERTED_CHARS, convert

RETRY = b"retry: 2000\r\n\r\n"
"""Milliseconds a browser waits before it connects again; sent first."""

ALIVE = b": alive\r\n\r\n"
"""A comment: keeps proxies from closing an idle stream, and no client sees it as an event."""

END = b"event: eof\r\ndata: end of stream\r\n\r\n"
"""The last event of a final execution; without ``id``, so that the client's Last-Event-ID stays."""

INLINE_CHARS = 65_536
"""Payload characters that are encoded on the event loop; more go to a thread."""

_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_CONVERSION_WEIGHT = 2_048


def frame(event: StoredEvent, payload: str) -> bytes:
    """The bytes of one event.

    Args:
        event: gives ``id``, ``event`` and the timestamp.
        payload: its text, raw or converted; each of its lines becomes a ``data`` line, since a carriage return or
            line feed inside one would end it.
    """
    data = _LINE_ENDS.sub("\r\ndata: ", f"{event.timestamp!r}:{payload}")
    return f"id: {event.seq}\r\nevent: {event.kind.value}\r\ndata: {data}\r\n\r\n".encode()


class Frame:
    """A stored event with its bytes, raw and converted, each made once.

    Attributes:
        event: as stored.
        counted_bytes: what a ring has counted for it; it may grow afterwards.
    """

    __slots__ = ("_converted", "_raw", "counted_bytes", "event")

    def __init__(self, event: StoredEvent) -> None:
        self.event = event
        self._raw: bytes | None = None
        self._converted: bytes | None = None
        self.counted_bytes = 0

    def has(self, converted: bool) -> bool:
        """Whether the bytes of this variant are made already."""
        return (self._converted if converted else self._raw) is not None

    def encoded(self, converted: bool, fid: str) -> bytes:
        """The bytes of a variant.

        Args:
            converted: for the panel's pages; else raw.
            fid: the execution, for links to the raw text of a long payload.
        """
        if converted and self.event.kind in CONVERTED_KINDS:
            if self._converted is None:
                self._converted = frame(self.event, convert(self.event.kind, self.event.payload, _raw_url(self, fid)))
            return self._converted
        if self._raw is None:
            self._raw = frame(self.event, self.event.payload)
        if converted:
            self._converted = self._raw
        return self._raw

    @property
    def size_bytes(self) -> int:
        """Roughly what this frame holds in memory."""
        variants = {id(made): len(made) for made in (self._raw, self._converted) if made is not None}
        return 200 + len(self.event.payload) + sum(variants.values())


async def encode(frames: Sequence[Frame], converted: bool, fid: str) -> list[bytes]:
    """The bytes of several frames; long ones are made in a thread, so that nobody else waits for them."""
    missing = [item for item in frames if not item.has(converted)]
    if sum(_weight(item, converted) for item in missing) > INLINE_CHARS:
        await asyncio.to_thread(_encode_all, missing, converted, fid)
    return _encode_all(frames, converted, fid)


def _encode_all(frames: Iterable[Frame], converted: bool, fid: str) -> list[bytes]:
    return [item.encoded(converted, fid) for item in frames]


def _weight(item: Frame, converted: bool) -> int:
    conversion = _CONVERSION_WEIGHT if converted and item.event.kind in CONVERTED_KINDS else 0
    return len(item.event.payload) + conversion


def _raw_url(item: Frame, fid: str) -> str:
    if len(item.event.payload) <= MAX_CONVERTED_CHARS:
        return ""
    return f"/outputs/raw/{fid}" if item.event.kind == EventKind.FINAL else f"/outputs/stream/{fid}"


class EventStream(Response):
    """A response that sends what a generator yields and ends at once when the client goes away.

    Starlette's own notices a gone client at the next chunk only, which an idle stream may not have for a long time.

    Args:
        chunks: yields bytes; closed in any case.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_client_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
