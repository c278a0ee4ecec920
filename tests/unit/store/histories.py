"""Batches and runs that the store's tests append."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kodosumi.events import Batch, Event, EventKind, ExecutionState, Position, new_fid
from kodosumi.store import Appended, ExecutionStore

OWNER = "0d4e9c6e-0000-4000-8000-000000000001"
OTHER = "0d4e9c6e-0000-4000-8000-000000000002"


def event(kind: EventKind, payload: str, at: float = 1_000.0) -> Event:
    return Event(kind, at, payload)


def status(state: ExecutionState, at: float = 1_000.0) -> Event:
    return Event(EventKind.STATUS, at, state.value)


def meta(**values: Any) -> Event:
    return event(EventKind.META, json.dumps({"dict": values}))


def text(line: str) -> Event:
    return event(EventKind.STDOUT, line)


def batch(offset: int, *events: Event, epoch: int = 1) -> Batch:
    return Batch(Position(epoch, offset), events)


STARTING = status(ExecutionState.STARTING)
RUNNING = status(ExecutionState.RUNNING)
FINISHED = status(ExecutionState.FINISHED, at=1_009.0)
FAILED = status(ExecutionState.ERROR, at=1_009.0)


async def begun(store: ExecutionStore, *events: Event, username: str = OWNER, fid: str | None = None) -> str:
    """An execution that runs."""
    fid = fid or new_fid()
    await store.append(fid, username, [batch(1, STARTING, *events)])
    return fid


async def ended(store: ExecutionStore, *events: Event, username: str = OWNER, fid: str | None = None) -> str:
    """An execution that has finished."""
    return await begun(store, *events, FINISHED, username=username, fid=fid)


async def payloads(store: ExecutionStore, fid: str) -> list[str]:
    return [stored.payload for stored in await store.events(fid)]


async def fids(store: ExecutionStore, **criteria: Any) -> list[str]:
    return [execution.fid for execution in await store.executions(**criteria)]


async def append_all(store: ExecutionStore, fid: str, batches: Sequence[Batch]) -> list[Appended]:
    return [await store.append(fid, OWNER, [single]) for single in batches]
