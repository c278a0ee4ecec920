"""Leaving a cluster that is gone: whoever waits for it is told, whatever Ray itself does."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kodosumi.cluster import watch
from kodosumi.cluster.watch import Membership
from kodosumi.error import ClusterError


@pytest.fixture
def membership(monkeypatch: pytest.MonkeyPatch) -> Membership:
    """One of the test's own, which leaves nothing."""
    monkeypatch.setattr(watch, "_shutdown", lambda: None)
    monkeypatch.setattr(watch, "CALLS_END_S", 0.01)
    return Membership()


async def test_a_call_answers_what_it_returns_and_raises_what_it_raises(membership: Membership) -> None:
    assert await membership.blocking(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await membership.blocking(divmod, 1, 0)


async def test_a_call_that_never_returns_fails_when_the_cluster_is_left(membership: Membership) -> None:
    entered, never = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        never.wait()

    waiting = asyncio.create_task(membership.blocking(hang))
    await asyncio.to_thread(entered.wait)
    await asyncio.to_thread(membership.leave)

    with pytest.raises(ClusterError, match="gone"):
        await waiting
    never.set()
    assert membership.generation == 1
    assert await membership.blocking(max, 1, 2) == 2, "the next cluster is not the one that hangs"


async def test_nothing_begins_while_a_cluster_is_left(membership: Membership) -> None:
    membership.leaving = True
    with pytest.raises(ClusterError, match="gone"):
        await membership.blocking(max, 1, 2)
    with pytest.raises(ClusterError, match="gone"), membership.call():
        pass


async def test_who_stops_waiting_leaves_nothing_behind(membership: Membership) -> None:
    never = threading.Event()
    waiting = asyncio.create_task(membership.blocking(never.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    never.set()
    assert not membership._pending
