"""Locks as they are stored with their execution, and who may answer them.

The store is what counts here: locks are listed, shown and answered after any restart. Whether a lock is still open at
this very moment is known to its run alone, which the app asks.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ..error import ExecutionNotFound
from ..events import EventKind, StoredEvent, is_fid, parsed_json
from ..store import Execution
from .assignees import MAX_ASSIGNEES, Assigned, assigned, names_of
from .auth import User
from .context import Panel
from .errors import ApiError
from .executions import GRACE_S, may_see, not_found

_LID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAGE = 64
_FATES = {
    "": "Nobody answered it",
    "expired": "It expired",
    "withdrawn": "Its run stopped waiting for it",
    "closed": "Its run ended",
}


@dataclass(frozen=True, slots=True)
class Release:
    """What became of a lock.

    Attributes:
        by: role id of who answered; None: nobody did.
        at: when, seconds since the epoch.
        why: why nobody did: ``expired``, ``withdrawn`` (the run's code waits no more) or ``closed`` (the run ended).
        result: what was answered, as plain JSON.
    """

    by: str | None
    at: float
    why: Literal["", "expired", "withdrawn", "closed"] = ""
    result: Any = None


@dataclass(frozen=True, slots=True)
class StoredLock:
    """A lock as its events tell of it.

    Attributes:
        fid: of the run. lid: of the lock. name: of its handlers.
        opened_at: seconds since the epoch. expires: likewise, None when the event doesn't say.
        assignee: role ids, names or e-mails; None: the run's owner.
        four_eyes: whether the run's owner may not answer.
        release: what became of it, None while it is open.
    """

    fid: str
    lid: str
    name: str
    opened_at: float
    expires: float | None
    assignee: tuple[str, ...] | None
    four_eyes: bool
    release: Release | None = None


async def stored_locks(panel: Panel, execution: Execution, only: str = "") -> dict[str, StoredLock]:
    """The locks of an execution by id, oldest first; those that its end has closed are released.

    Args:
        panel: where it is stored. execution: as it is now. only: id of the one lock that is wanted; all by default.
    """
    locks: dict[str, StoredLock] = {}
    after = 0
    while True:
        events = await panel.store.events(execution.fid, after, _PAGE, (EventKind.LOCK, EventKind.LEASE))
        for event in events:
            if only in event.payload:
                _fold(locks, execution.fid, event)
        if len(events) < _PAGE:
            break
        after = events[-1].seq
    if execution.state.terminal:
        over = Release(None, execution.finished_at or 0.0, "closed")
        return {lid: lock if lock.release else replace(lock, release=over) for lid, lock in locks.items()}
    return locks


class NotYours(ApiError):
    """A lock that the user knows of, since they may see its run, but may not answer (403).

    Attributes:
        execution: the run. lock: the lock.
    """

    def __init__(self, why: str, execution: Execution, lock: StoredLock) -> None:
        super().__init__(403, why)
        self.execution = execution
        self.lock = lock


async def answerable(panel: Panel, user: User, fid: str, lid: str) -> tuple[Execution, StoredLock]:
    """A lock that the user may answer, or might have: it may be released already.

    Raises:
        ApiError: 404, unknown or not for this user. NotYours: not for this user, who may see the run.
    """
    if not is_fid(fid):
        raise not_found(fid)
    try:
        execution = await panel.hub.execution(fid, GRACE_S)
    except ExecutionNotFound:
        raise not_found(fid) from None
    if execution.archived:
        raise not_found(fid)
    seen = may_see(user, execution)
    execution, lock = await _found(panel, execution, lid)
    if lock is None:
        raise ApiError(404, f"Lock {lid} for {fid} not found.") if seen else not_found(fid)
    refusal = refused(user, execution, lock, await assigned(panel.database, lock.assignee or ()))
    if refusal:
        raise NotYours(refusal, execution, lock) if seen else not_found(fid)
    return execution, lock


def refused(user: User, execution: Execution, lock: StoredLock, roles: Assigned) -> str:
    """Why a user may not answer a lock; empty when they may.

    Args:
        user: who asks. execution: the run. lock: the lock. roles: what its assignees name.
    """
    owner = execution.username == user.id
    if lock.four_eyes and owner:
        return "This lock wants a second pair of eyes: you launched the run, so somebody else has to answer."
    if user.operator or (owner and lock.assignee is None):
        return ""
    if lock.assignee is None:
        return "This lock is answered by the run's owner or an operator."
    known = [roles.get(text) for text in lock.assignee]
    if any(role is not None and role.id == user.id for role in known):
        return ""
    asked = ", ".join(role.name if role else text for text, role in zip(lock.assignee, known, strict=True))
    return f"This lock is not yours to answer: it is assigned to {asked or 'operators'}."


async def after_release(panel: Panel, execution: Execution, lock: StoredLock, status: int) -> StoredLock | None:
    """A lock that its app calls released, with what the store knows of that within a moment.

    Args:
        panel, execution, lock: what was asked for.
        status: the app's. 409 says "released"; 404 that the run is over, perhaps because it has its answer.

    Returns:
        None when the app's status says something else.
    """
    if status not in (404, 409):
        return None
    with suppress(TimeoutError, ExecutionNotFound):
        await panel.hub.execution(execution.fid, GRACE_S, lambda now: lock.lid not in now.locks)
    now = await panel.store.execution(execution.fid)
    known = (await stored_locks(panel, now, lock.lid)).get(lock.lid, lock)
    return known if status == 409 or known.release is not None else None


class Fate(NamedTuple):
    """What became of a released lock, for a reader.

    Attributes:
        text: who answered, or why nobody can. at: when, seconds since the epoch, None when that isn't known.
    """

    text: str
    at: float | None = None

    def __str__(self) -> str:
        return f"{self.text}." if self.at is None else f"{self.text} at {shown_time(self.at)}."


async def fate_of(panel: Panel, lock: StoredLock) -> Fate:
    """What became of a released lock: who answered, and when."""
    release = lock.release
    if release is None:
        return Fate("It was answered or has expired just now")
    if release.by is None:
        return Fate(_FATES[release.why], release.at)
    names = await names_of(panel.database, [release.by])
    return Fate(f"It was already answered by {names.get(release.by, release.by)}", release.at)


def shown_time(seconds: float) -> str:
    """A time for a reader, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


async def _found(panel: Panel, execution: Execution, lid: str) -> tuple[Execution, StoredLock | None]:
    if not _LID.fullmatch(lid):
        return execution, None
    lock = (await stored_locks(panel, execution, lid)).get(lid)
    if lock is not None or execution.state.terminal:
        return execution, lock
    # Who was told of it by another way than the store may be a moment early.
    with suppress(TimeoutError, ExecutionNotFound):
        execution = await panel.hub.execution(execution.fid, GRACE_S, lambda now: lid in now.locks)
    return execution, (await stored_locks(panel, execution, lid)).get(lid)


def _fold(locks: dict[str, StoredLock], fid: str, event: StoredEvent) -> None:
    value = _wrapped(event.payload)
    lid = value.get("lid")
    if not isinstance(lid, str) or not _LID.fullmatch(lid):
        return
    if event.kind == EventKind.LOCK and lid not in locks:
        locks[lid] = _opened(fid, lid, value, event.timestamp)
    elif event.kind == EventKind.LEASE and lid in locks and locks[lid].release is None:
        locks[lid] = replace(locks[lid], release=_released(value, event.timestamp))


def _opened(fid: str, lid: str, value: dict[str, Any], timestamp: float) -> StoredLock:
    assignee = value.get("assignee")
    given = [assignee] if isinstance(assignee, str) else assignee if isinstance(assignee, list) else []
    named = tuple(each for each in given if isinstance(each, str))
    return StoredLock(
        fid=fid,
        lid=lid,
        name=str(value.get("name") or "lock"),
        opened_at=timestamp,
        expires=_number(value.get("expires")),
        # An assignee that nobody can be is not the same as none.
        assignee=None if assignee is None else named[:MAX_ASSIGNEES],
        four_eyes=value.get("four_eyes") is True,
    )


def _released(value: dict[str, Any], timestamp: float) -> Release:
    by = value.get("by")
    why: Literal["", "expired", "withdrawn"] = (
        "expired" if value.get("expired") is True else "withdrawn" if value.get("withdrawn") is True else ""
    )
    return Release(
        # Runs of earlier versions didn't say who.
        by=None if why else by if isinstance(by, str) else "somebody",
        at=_number(value.get("at")) or timestamp,
        why=why,
        result=value.get("result"),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _wrapped(payload: str) -> dict[str, Any]:
    try:
        value = parsed_json(payload)
    except (ValueError, RecursionError):
        return {}
    inner = value.get("dict") if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}
