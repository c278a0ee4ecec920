"""What a client has of a file, and which part of it it asks for: RFC 9110, sections 13 and 14.

One range is served; several at once are answered with the whole file, as the standard allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate
from typing import NamedTuple

from ...files import FileInfo

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})[ \t]*-[ \t]*(\d{0,18})[ \t]*", re.IGNORECASE)


class Span(NamedTuple):
    """A part of a file: bytes from ``start`` up to ``end``, which is not included."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies behind the file's end."""


def etag_of(info: FileInfo) -> str:
    """The entity tag of a file, strong."""
    return f'"{info.etag}"'


def last_modified(info: FileInfo) -> str:
    """When a file was changed, as HTTP writes it."""
    return formatdate(info.last_modified, usegmt=True)


def is_known(headers: Mapping[str, str], info: FileInfo) -> bool:
    """Whether the client has this very content (``If-None-Match``)."""
    known = headers.get("if-none-match")
    if known is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return "*" in tags or etag_of(info) in tags


def span_of(headers: Mapping[str, str], info: FileInfo) -> Span | None:
    """The part that a request asks for; None: the whole.

    Raises:
        Unsatisfiable: 416.
    """
    wanted, condition = headers.get("range"), headers.get("if-range")
    if wanted is None or (condition is not None and condition.strip() not in (etag_of(info), last_modified(info))):
        return None
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        if not int(last) or not info.size:
            raise Unsatisfiable
        return Span(max(info.size - int(last), 0), info.size)
    start, end = int(first), int(last) + 1 if last else info.size
    if last and end <= start:
        return None
    if start >= info.size:
        raise Unsatisfiable
    return Span(start, min(end, info.size))
