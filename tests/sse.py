"""Reads a live stream as a client does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx


class Message(NamedTuple):
    """One message of a stream; ``seq`` is 0 when it has no id."""

    seq: int
    kind: str
    data: str

    @property
    def timestamp(self) -> float:
        """When the event was made, seconds since the epoch."""
        return float(self.data.partition(":")[0])

    @property
    def payload(self) -> str:
        """The event's text."""
        return self.data.partition(":")[2]


def messages(response: httpx.Response) -> Iterator[Message]:
    """The messages of a streaming response, comments and retry fields left out, until the stream ends."""
    fields: dict[str, list[str]] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif fields:
            if "event" in fields:
                yield Message(int(fields.get("id", ["0"])[0]), fields["event"][0], "\n".join(fields.get("data", [])))
            fields = {}


def read_stream(client: httpx.Client, path: str, **headers: str) -> list[Message]:
    """All messages of a stream, ``eof`` included; raises for an answer that is no stream."""
    with client.stream("GET", path, headers=headers, timeout=120) as response:
        response.raise_for_status()
        return list(messages(response))
