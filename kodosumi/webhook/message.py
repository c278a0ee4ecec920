"""What a notice says: who, which run, which lock, where to look. Never what users or runs put in or got out."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from ..error import ExecutionNotFound
from ..events import StoredEvent, parsed_json
from ..identity import ANONYMOUS
from ..store import Execution, ExecutionStore, Notice, NoticeKind

MAX_TEXT_CHARS = 400
MAX_ASSIGNEES = 100
MAX_TIME = 1e12


async def message_of(store: ExecutionStore, notice: Notice, app_server: str) -> bytes | None:
    """The JSON text of a notice; None when there is nothing to tell any more, or never was.

    Args:
        store: has the execution. notice: of it.
        app_server: address of the panel where the execution doesn't name one.

    Raises:
        StoreError: the store can't be read.
    """
    try:
        execution = await store.execution(notice.fid)
        events = await store.events(notice.fid, after=notice.seq - 1, limit=1)
    except ExecutionNotFound:
        return None
    if not events:
        return None
    panel = _panel_of(execution, app_server)
    lock = None
    if notice.kind is NoticeKind.LOCK:
        lock = _lock_of(events[0], f"{panel}/inputs/lock/{_part(notice.fid)}")
        if lock is None:
            return None
    message = {
        "id": notice.id,
        "event": notice.kind.value,
        "fid": notice.fid,
        "username": execution.username,
        "summary": _text(execution.meta.get("summary")),
        "timestamp": events[0].timestamp,
        "url": f"{panel}/admin/status/view/{_part(notice.fid)}",
        "lock": lock,
    }
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _panel_of(execution: Execution, app_server: str) -> str:
    told = execution.meta.get("panel_url")
    # Who launches without a panel may name any address, and people follow our links.
    vouched = execution.username != ANONYMOUS and isinstance(told, str)
    if vouched and str(told).startswith(("http://", "https://")) and len(str(told)) <= MAX_TEXT_CHARS:
        return str(told).rstrip("/")
    return app_server.rstrip("/")


def _lock_of(event: StoredEvent, base: str) -> dict[str, Any] | None:
    """What is told of a lock; None when the event tells of none."""
    try:
        wrapped = parsed_json(event.payload)
    except (ValueError, RecursionError):
        return None
    given = wrapped.get("dict") if isinstance(wrapped, dict) else None
    lid = given.get("lid") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(lid, str):
        return None
    expires, assignee = given.get("expires"), given.get("assignee")
    return {
        "lid": lid,
        "name": _text(given.get("name")),
        "expires": float(expires) if isinstance(expires, int | float) and abs(expires) < MAX_TIME else None,
        "assignee": [_text(one) for one in assignee[:MAX_ASSIGNEES]] if isinstance(assignee, list) else None,
        "url": f"{base}/{_part(lid)}",
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:MAX_TEXT_CHARS]


def _part(text: str) -> str:
    return quote(text, safe="")
