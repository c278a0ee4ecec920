"""Events that a run tells of itself, beside those of its code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from ..events import Event, EventKind, ExecutionState
from .spec import Attempt, UploadedFile

MAX_ERROR_CHARS = 100_000
"""Longest traceback text; the middle of a longer one is left out."""


def attempt_event(attempt: Attempt) -> Event:
    """What tells that a further attempt begins, and why."""
    content = {"dict": {"number": attempt.number, "reason": attempt.reason}}
    return Event.now(EventKind.ATTEMPT, json.dumps(content, ensure_ascii=False))


def upload_events(uploads: Sequence[UploadedFile]) -> list[Event]:
    """What tells of files that were in place before the run began; nothing when there are none."""
    if not uploads:
        return []
    files = [asdict(upload) for upload in uploads]
    return [Event.now(EventKind.UPLOAD, json.dumps({"Upload": {"files": files}}, ensure_ascii=False))]


def error_end(text: str) -> list[Event]:
    """The end of a run that has failed, with what a user sees of it."""
    return [
        Event.now(EventKind.ERROR, shortened(text, MAX_ERROR_CHARS)),
        Event.now(EventKind.STATUS, ExecutionState.ERROR),
    ]


def shortened(text: str, max_chars: int) -> str:
    """A text without its middle, if it has more characters."""
    half = max_chars // 2
    if len(text) <= max_chars:
        return text
    return f"{text[:half]}\n… {len(text) - max_chars:,} characters left out …\n{text[-half:]}"
