"""Every notice reaches a real receiver, whatever that does meanwhile, and none is sent for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from kodosumi.error import StoreUnavailable
from kodosumi.events import EventKind
from kodosumi.store import ExecutionStore, Notice
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.webhook import Sender
from kodosumi.webhook import sender as sender_module
from kodosumi.webhook.courier import Courier
from kodosumi.webhook.sender import LAST_PAUSE_S, back_off
from tests.conditions import until
from tests.servers.receiver import Receiver
from tests.unit.store.histories import FINISHED, batch, begun, event
from tests.unit.webhook.conftest import SECRET

LOCK = event(EventKind.LOCK, '{"dict": {"lid": "a", "name": "approve"}}')


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pauses are short."""
    monkeypatch.setattr(sender_module, "FIRST_PAUSE_S", 0.02)


@asynccontextmanager
async def sending(
    store: ExecutionStore, receiver: Receiver, *, grace_s: float = 30.0, timeout_s: float = 10.0, **options: float
) -> AsyncIterator[Sender]:
    courier = Courier(httpx.URL(receiver.url), SECRET, timeout_s=timeout_s)
    sender = Sender(store, courier, "http://localhost:3370", **options)
    running = asyncio.create_task(sender.run())
    try:
        yield sender
        assert not running.done()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await sender.close(grace_s)


async def settled(store: ExecutionStore) -> None:
    await until(store.waiting_notices, lambda waiting: waiting == 0)


async def test_each_notice_is_sent_once_and_forgotten(store: MemoryExecutionStore, receiver: Receiver) -> None:
    fids = [await begun(store, LOCK, FINISHED) for _ in range(20)]
    async with sending(store, receiver):
        await settled(store)
    assert sorted(receiver.ids()) == sorted(f"{fid}-{seq}" for fid in fids for seq in (2, 3))
    assert {delivery.headers["x-kodosumi-event"] for delivery in receiver.deliveries} == {"lock", "finished"}
    assert all(delivery.id == delivery.message["id"] for delivery in receiver.deliveries)


async def test_what_is_stored_later_is_sent_at_once_without_a_sweep(
    store: MemoryExecutionStore, receiver: Receiver
) -> None:
    async with sending(store, receiver, sweep_s=3_600) as sender:
        await begun(store, LOCK)
        await settled(store)
        fid = await begun(store, LOCK)
        sender.stored([])
        assert await store.waiting_notices() == 1
        sender.stored([batch(1, LOCK)])
        await settled(store)
    assert receiver.ids()[-1] == f"{fid}-2"


async def test_what_others_left_behind_is_found_by_a_sweep(store: MemoryExecutionStore, receiver: Receiver) -> None:
    async with sending(store, receiver, sweep_s=0.05):
        await begun(store, LOCK)
        await settled(store)


@pytest.mark.usefixtures("hurried")
async def test_a_receiver_that_fails_first_gets_the_same_message_again(
    store: MemoryExecutionStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda _: 500 if len(receiver.deliveries) < 2 else 204
    fid = await begun(store, LOCK)
    with caplog.at_level(logging.INFO, "kodosumi.webhook"):
        async with sending(store, receiver, sweep_s=3_600):
            await settled(store)
    assert receiver.ids() == [f"{fid}-2"] * 2
    assert receiver.deliveries[0].body == receiver.deliveries[1].body
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "answers 500" in said[0] and said[1].startswith("over: ")
    assert "hidden" not in caplog.text and SECRET not in caplog.text


@pytest.mark.usefixtures("hurried")
async def test_a_receiver_that_dies_and_comes_back_misses_nothing(
    store: MemoryExecutionStore, receiver: Receiver
) -> None:
    receiver.stop()
    fids = [await begun(store, LOCK) for _ in range(6)]
    async with sending(store, receiver):
        await until(lambda: all(waiting.tries for waiting in store._waiting.values()))
        receiver.start()
        await settled(store)
    assert sorted(receiver.ids()) == sorted(f"{fid}-2" for fid in fids)


@pytest.mark.usefixtures("hurried")
async def test_a_receiver_that_hangs_is_told_again(store: MemoryExecutionStore, receiver: Receiver) -> None:
    receiver.hanging = True
    fid = await begun(store, LOCK)
    async with sending(store, receiver, timeout_s=1.0):
        await until(lambda: len(receiver.deliveries) >= 2)
        receiver.resume()
        await settled(store)
    assert set(receiver.ids()) == {f"{fid}-2"}


async def test_at_most_four_messages_are_on_their_way_at_once(store: MemoryExecutionStore, receiver: Receiver) -> None:
    receiver.hanging = True
    for _ in range(10):
        await begun(store, LOCK)
    async with sending(store, receiver) as sender:
        await until(lambda: len(receiver.deliveries) == 4)
        sender.stored([batch(1, LOCK)])
        await begun(store, LOCK)
        assert len(receiver.deliveries) == 4
        receiver.resume()
        await settled(store)
    assert len(receiver.deliveries) == 11


async def test_a_receiver_that_says_gone_is_not_asked_again(
    store: MemoryExecutionStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda delivery: 410 if delivery.message["event"] == "lock" else 204
    fid = await begun(store, LOCK, FINISHED)
    async with sending(store, receiver):
        await settled(store)
    assert sorted(receiver.ids()) == [f"{fid}-2", f"{fid}-3"]
    assert f"{fid}-2: it answers 410; given up" in caplog.text


@pytest.mark.usefixtures("hurried")
async def test_after_so_long_a_notice_is_given_up_and_said(
    store: MemoryExecutionStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda _: 500
    fid = await begun(store, LOCK)
    async with sending(store, receiver, give_up_s=0.1):
        await settled(store)
    assert len(receiver.ids()) >= 2 and set(receiver.ids()) == {f"{fid}-2"}
    assert f"{fid}-2: it answers 500; given up" in caplog.text


@pytest.mark.usefixtures("hurried")
async def test_what_waited_while_nobody_sent_is_tried_at_least_once_again(
    store: MemoryExecutionStore, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500 if len(receiver.deliveries) < 2 else 204
    await begun(store, LOCK)
    # claimed for the first time just now, however long ago it was noted
    async with sending(store, receiver, give_up_s=0.0001):
        await settled(store)
    assert len(receiver.deliveries) == 2


async def test_several_senders_share_the_work_and_send_nothing_twice(
    store: MemoryExecutionStore, receiver: Receiver
) -> None:
    fids = [await begun(store, LOCK) for _ in range(30)]
    async with sending(store, receiver), sending(store, receiver), sending(store, receiver):
        await settled(store)
    assert sorted(receiver.ids()) == sorted(f"{fid}-2" for fid in fids)


async def test_at_the_end_what_is_due_is_sent_and_what_hangs_is_given_back(
    store: MemoryExecutionStore, receiver: Receiver
) -> None:
    async with sending(store, receiver, sweep_s=3_600):
        await begun(store, LOCK)
    assert await store.waiting_notices() == 0

    receiver.hanging = True
    async with sending(store, receiver, grace_s=0.1):
        fid = await begun(store, LOCK)
    (notice,) = await store.notices(5, 60)
    assert notice.id == f"{fid}-2"


async def test_a_purged_execution_is_not_told_of(store: MemoryExecutionStore, receiver: Receiver) -> None:
    await begun(store, event(EventKind.LOCK, "no lock"))
    gone = await begun(store, LOCK, FINISHED)
    await store.purge(gone)
    async with sending(store, receiver):
        await settled(store)
    assert receiver.deliveries == []


class Shaky(MemoryExecutionStore):
    """A store that fails now and then, in whatever way."""

    def __init__(self) -> None:
        super().__init__(notices=True)
        self.failures: dict[str, list[Exception]] = {
            name: [StoreUnavailable("full"), ValueError("odd")] for name in ("notices", "settle", "defer")
        }

    async def notices(self, limit: int, lease_s: float) -> list[Notice]:
        self._fail("notices")
        return await super().notices(limit, lease_s)

    async def settle_notice(self, notice: Notice) -> None:
        await self._end_lease(notice, "settle")
        self._fail("settle")
        await super().settle_notice(notice)

    async def defer_notice(self, notice: Notice, pause_s: float) -> None:
        await self._end_lease(notice, "defer")
        self._fail("defer")
        await super().defer_notice(notice, pause_s)

    async def _end_lease(self, notice: Notice, name: str) -> None:
        """What fails is due again at once, and not before: a lease's time might end while a message is on its way."""
        if self.failures[name]:
            await super().defer_notice(notice, 0.0)

    def _fail(self, name: str) -> None:
        if self.failures[name]:
            raise self.failures[name].pop(0)


@pytest.mark.usefixtures("hurried")
async def test_a_store_that_fails_ends_no_sender_and_the_receiver_is_told_once(receiver: Receiver) -> None:
    store = Shaky()
    receiver.answer = lambda _: 500 if len(receiver.deliveries) < 3 else 204
    fid = await begun(store, LOCK)
    async with sending(store, receiver, sweep_s=0.05, lease_s=3_600):
        await settled(store)
    assert receiver.ids() == [f"{fid}-2"] * 3 and not any(store.failures.values())


def test_pauses_grow_from_one_second_to_five_minutes() -> None:
    pauses = [back_off(tries) for tries in range(1, 60)]
    assert 0.5 < pauses[0] <= 1.0 and 1.0 < pauses[1] <= 2.0
    assert all(pause <= LAST_PAUSE_S for pause in pauses) and min(pauses[20:]) >= 200
    assert back_off(10**9) <= LAST_PAUSE_S
