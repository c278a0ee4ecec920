"""One lock as its run keeps it, the events that tell of it, and those of earlier attempts. For ``locks.py`` alone."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ..events import Event, EventKind, parsed_json
from .lock_types import LockOutcome, LockRequest, OpenLock
from .spec import KeptLock


@dataclass(eq=False, slots=True)
class Lock:
    """One lock.

    Attributes:
        terms: what whoever answers is told.
        deadline: loop time at which it expires.
        own: whether the run's own process waits for it, rather than a remote task.
        outcome: how it ended; done as soon as it has.
        timer: to its expiry. claim_timer: to its claim's end.
        holder: the claim that is being worked on, "" when there is none.
        issued: all claims there were.
        queue: claims that wait for their turn, in order.
        taken: the claim whose answer was taken.
        kept: what a further attempt takes over of it; None: nothing.
    """

    terms: OpenLock
    deadline: float
    own: bool
    outcome: asyncio.Future[LockOutcome]
    timer: asyncio.TimerHandle | None = None
    claim_timer: asyncio.TimerHandle | None = None
    holder: str = ""
    issued: set[str] = field(default_factory=set)
    queue: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    taken: str = ""
    kept: KeptLock | None = None


class EarlierLocks:
    """Locks of earlier attempts, until the code that opened them asks for them again."""

    def __init__(self) -> None:
        self._locks: dict[str, deque[Lock]] = {}

    def add(self, kept: KeptLock, lock: Lock) -> None:
        """Keeps one, behind those that are the same."""
        key = _identity(kept.name, kept.data, kept.assignee, kept.four_eyes)
        self._locks.setdefault(key, deque()).append(lock)

    def find(self, request: LockRequest) -> Lock | None:
        """The first that is the same and still good for something: open, or with its answer. Each is found once."""
        if not self._locks:
            return None
        data = parsed_json(request.data)
        same = self._locks.get(_identity(request.name, data, request.assignee, request.four_eyes))
        while same:
            lock = same.popleft()
            if not lock.outcome.done() or lock.outcome.result().result is not None:
                return lock
            # It expired meanwhile: who asks now has the full time.
        return None


def lock_event(kind: EventKind, terms: OpenLock, **facts: Any) -> Event:
    """A ``lock`` or ``lease`` event with these facts."""
    content = {"dict": {"name": terms.name, "lid": terms.lid, **facts}}
    return Event.now(kind, json.dumps(content, ensure_ascii=False))


def _identity(name: str, data: Any, assignee: tuple[str, ...] | None, four_eyes: bool) -> str:
    """Equal for locks that are the same to the code that asks for them."""
    return json.dumps([name, data, assignee, four_eyes], sort_keys=True)
