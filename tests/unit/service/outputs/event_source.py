"""Reads server-sent events as the HTML standard says a browser must."""

from __future__ import annotations

import re
from typing import NamedTuple


class Seen(NamedTuple):
    """An event as a page's listener gets it."""

    id: str
    event: str
    data: str


def parsed(stream: bytes) -> list[Seen]:
    """All complete events of ``stream``, by the standard's algorithm (9.2.6), independent of how it was written."""
    events: list[Seen] = []
    last_id, event, data = "", "", []
    for line in re.split("\r\n|\n|\r", stream.decode()):
        if not line:
            if data:
                events.append(Seen(last_id, event or "message", "\n".join(data)))
            event, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events
