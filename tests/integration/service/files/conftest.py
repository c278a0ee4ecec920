"""A whole panel with files in a folder, as the tests of the panel have it, and executions to put files into."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.store.memory import MemoryExecutionStore
from tests.integration.panel.conftest import (
    address,
    admin,
    alice,
    app,
    bob,
    cheap_passwords,
    client,
    mode,
    options,
    panel,
    store,
    transport,
    visit,
)

__all__ = [
    "address",
    "admin",
    "alice",
    "app",
    "bob",
    "cheap_passwords",
    "client",
    "mode",
    "options",
    "panel",
    "store",
    "transport",
    "visit",
]

Begin = Callable[..., Awaitable[str]]


@pytest.fixture
def begin(store: MemoryExecutionStore) -> Begin:
    """Stores an execution of a user as a spooler would, in a state; gives its id."""

    async def begun(owner: str, *states: str, fid: str | None = None) -> str:
        fid = fid or new_fid()
        known = len(await store.events(fid)) if fid in store._records else 0
        events = [Event.now(EventKind.STATUS, state) for state in states or ("starting", "running")]
        await store.append(fid, owner, [Batch(Position(1, known + 1), events)])
        return fid

    return begun


@pytest.fixture
async def run(alice: Any, begin: Begin) -> str:
    """A living execution of Alice's."""
    return await begin(alice.id)
