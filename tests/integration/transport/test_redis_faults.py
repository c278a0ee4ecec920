"""Redis, its network and its consumers fail: nothing is lost but with the server's own storage, and then it's said."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from kodosumi.error import AttemptOver, TransportLost, TransportUnavailable
from kodosumi.events import encode_events, new_fid
from kodosumi.transport import Delivery, EventConsumer, EventProducer, transport_from
from kodosumi.transport.ending import put_end
from kodosumi.transport.redis import RedisTransport, connection, lease, scripts
from kodosumi.transport.redis import producer as producer_module
from tests.conditions import until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.transport_contract import END, OWNER, ack_all, line, lines, take_until, texts

pytestmark = pytest.mark.fault
SPAWN = multiprocessing.get_context("spawn")
Connect = Callable[..., RedisTransport]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made = []

    def connect(server: RedisServer, **options: Any) -> RedisTransport:
        options = {"url": server.url(), "prefix": f"test:{uuid4().hex}:", **options}
        made.append(RedisTransport(**options))
        return made[-1]

    yield connect
    for transport in made:
        await transport.close()


@pytest.fixture
def own_server() -> Iterator[Callable[..., RedisServer]]:
    with contextlib.ExitStack() as running:
        yield lambda **settings: running.enter_context(RedisServer(**settings))


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 1.0)


async def put_one(transport: RedisTransport, text: str) -> EventProducer:
    made = transport.producer(new_fid(), OWNER)
    await made.put([line(text)])
    return made


async def store_until(consumer: EventConsumer, done: Callable[[list[str]], Awaitable[bool] | bool]) -> list[str]:
    """Takes and acknowledges as a spooler does, dropping what is at or below the position stored."""
    stored: list[str] = []
    position = (0, 0)
    async with asyncio.timeout(60):
        while not done(stored):
            try:
                taken = await consumer.take(1000, 0.5)
                for batch in (batch for delivery in taken for batch in delivery.batches):
                    if batch.position > position:
                        position = batch.position
                        stored.extend(event.payload for event in batch.events)
                await ack_all(consumer, taken)
            except TransportUnavailable:
                continue
    return stored


# consumers ---------------------------------------------------------------------------------------------------------


def _take_and_hold(options: dict[str, Any], pipe: Any, acks: bool) -> None:
    """A consumer process: takes what is there, says so, and then does what it is told."""

    async def hold() -> None:
        transport = RedisTransport(**options)
        consumer = transport.consumer()
        taken = await take_until(consumer, 3)
        pipe.send(texts(taken))
        await asyncio.to_thread(pipe.recv)
        await ack_all(consumer, taken)
        pipe.send(texts(await consumer.take(100, 1.0)))
        await transport.close()

    asyncio.run(hold())


async def test_what_a_killed_consumer_held_is_given_to_another_in_order(
    redis_server: RedisServer, connect: Connect
) -> None:
    transport = connect(redis_server)
    producer = transport.producer(new_fid(), OWNER)
    for number in (1, 2, 3):
        await producer.put([line(number)])
    ours, theirs = SPAWN.Pipe()
    victim = SPAWN.Process(target=_take_and_hold, args=(transport._options, theirs, False))
    victim.start()
    assert await asyncio.to_thread(ours.recv) == ["1", "2", "3"]

    victim.kill()
    await producer.put([line(4)])

    assert texts(await take_until(transport.consumer(), 4)) == ["1", "2", "3", "4"]
    victim.join()


async def test_a_consumer_stopped_for_longer_than_its_lease_neither_acknowledges_nor_reads_on(
    redis_server: RedisServer, connect: Connect
) -> None:
    transport = connect(redis_server)
    producer = transport.producer(new_fid(), OWNER)
    for number in (1, 2, 3):
        await producer.put([line(number)])
    ours, theirs = SPAWN.Pipe()
    paused = SPAWN.Process(target=_take_and_hold, args=(transport._options, theirs, True))
    paused.start()
    assert await asyncio.to_thread(ours.recv) == ["1", "2", "3"]

    os.kill(paused.pid or 0, signal.SIGSTOP)
    other = transport.consumer()
    taken = await take_until(other, 3)
    os.kill(paused.pid or 0, signal.SIGCONT)
    ours.send("go on")
    await producer.put([line(4)])
    reading = asyncio.create_task(take_until(other, 1))
    late = await asyncio.to_thread(ours.recv)

    assert texts(taken) == ["1", "2", "3"]
    assert late == []
    assert texts(await reading) == ["4"]
    assert (await transport.status()).waiting_events == 4
    paused.join()


async def test_an_acknowledgement_under_an_old_grant_does_nothing(
    redis_server: RedisServer, connect: Connect, short_lease: None
) -> None:
    transport = connect(redis_server)
    producer = await put_one(transport, "1")
    silent, other = transport.consumer(), transport.consumer()
    taken = await take_until(silent, 1)
    assert texts(await take_until(other, 1)) == ["1"]

    await ack_all(silent, taken)

    assert (await transport.status()).waiting_events == 1
    await producer.put([line(2)])
    assert texts(await take_until(other, 1)) == ["2"]


# the server --------------------------------------------------------------------------------------------------------


async def test_nothing_is_lost_when_a_server_that_keeps_its_data_is_killed_in_a_burst(
    own_server: Callable[..., RedisServer], connect: Connect
) -> None:
    server = own_server(appendonly="yes", appendfsync="everysec")
    transport = connect(server)
    producer, feed = transport.producer(new_fid(), OWNER), transport.commits()
    storing = asyncio.create_task(store_until(transport.consumer(), lambda stored: len(stored) >= 4000))

    for number in range(400):
        if number == 200:
            restarting = asyncio.create_task(asyncio.to_thread(server.restart))
        await producer.put(lines(number * 10, number * 10 + 9))
    await restarting

    assert await storing == [str(number) for number in range(4000)]
    await feed.close()


async def test_nothing_is_called_lost_when_all_was_committed(
    own_server: Callable[..., RedisServer], connect: Connect
) -> None:
    server = own_server()
    transport = connect(server)
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    taken = await take_until(consumer, 1)
    await ack_all(consumer, taken)
    taking = asyncio.create_task(take_until(consumer, 1))

    server.restart()
    await producer.put([line(2)])

    newer = await taking
    assert texts(newer) == ["2"]
    assert newer[0].batches[0].position > taken[0].batches[0].position


async def test_a_producer_is_told_of_what_was_lost_and_can_go_on(
    own_server: Callable[..., RedisServer], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "RECALL_S", 0.5)
    server = own_server()
    transport = connect(server)
    lost = await put_one(transport, "lost")
    ticket = lost.ticket

    server.restart()

    with pytest.raises(TransportLost):
        await lost.put([line(2)])
    with pytest.raises(TransportLost):
        await transport_from(ticket).producer_from(ticket).put([line(3)])
    await lost.put([line(4)])
    assert texts(await take_until(transport.consumer(), 1)) == ["4"]


async def test_what_a_consumer_holds_is_not_lost_with_the_server_however_long_it_is_held(
    own_server: Callable[..., RedisServer], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "RECALL_S", 2.0)
    server = own_server()
    transport = connect(server)
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    taken = await take_until(consumer, 1)
    taking = asyncio.create_task(take_until(consumer, 1))

    server.restart()
    putting = asyncio.create_task(producer.put([line(2)]))
    await until(lambda: any("recall" in key for key in server.keys(transport._options["prefix"])))
    await asyncio.wait({putting}, timeout=3.0)
    assert not putting.done()
    await ack_all(consumer, taken)

    await putting
    assert texts(await taking) == ["2"]


async def test_what_a_consumer_held_is_lost_when_it_dies_too(
    own_server: Callable[..., RedisServer], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "RECALL_S", 1.0)
    server = own_server()
    transport = connect(server)
    consumer = transport.consumer()
    made = await put_one(transport, "1")
    await take_until(consumer, 1)

    server.restart()
    await consumer.close()

    with pytest.raises(TransportLost):
        await made.put([line(2)])


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "lost"])
async def test_an_earlier_attempt_stays_shut_out_when_the_server_lost_its_memory(
    own_server: Callable[..., RedisServer], connect: Connect, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    monkeypatch.setattr(producer_module, "RECALL_S", 2.0)
    server = own_server()
    transport = connect(server)
    fid = new_fid()
    first, second = transport.producer(fid, OWNER, 1), transport.producer(fid, OWNER, 2)
    consumer = transport.consumer()
    await first.put([line(1)])
    await second.put([line(2)])
    taken = await take_until(consumer, 2)
    if stored:
        await ack_all(consumer, taken)

    server.restart()
    taking = asyncio.create_task(consumer.take(10, 60.0))
    await until(lambda: any("recall" in key for key in server.keys(transport._options["prefix"])))
    if not stored:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await consumer.close()

    with pytest.raises(AttemptOver):
        await first.put([line("late")])
    assert not await put_end(first, "lost")
    if stored:
        await second.put([line(3)])
        assert texts(await taking) == ["3"]
    else:
        assert await put_end(second, "lost")


async def test_a_batch_that_was_committed_but_never_answered_for_is_not_taken_again(
    own_server: Callable[..., RedisServer], connect: Connect
) -> None:
    server = own_server()
    transport = connect(server)
    consumer = transport.consumer()
    producer: Any = await put_one(transport, "1")
    await ack_all(consumer, await take_until(consumer, 1))
    taking = asyncio.create_task(consumer.take(10, 60.0))

    server.restart()
    # As if the answer had been lost with the server: a first put knows of nothing before it.
    producer._seq -= 1
    producer._past = None
    events = [line(1)]
    producer._seq += 1
    producer._in_doubt = encode_events(events)
    await producer.put(events)
    other = await put_one(transport, "other")

    assert [delivery.fid for delivery in await taking] == [other.fid]


async def test_a_burst_over_the_loss_of_the_server_arrives_without_gap_up_to_the_loss(
    own_server: Callable[..., RedisServer], connect: Connect
) -> None:
    server = own_server()
    transport = connect(server)
    producer = transport.producer(new_fid(), OWNER)
    storing = asyncio.create_task(store_until(transport.consumer(), lambda stored: stored[-1:] == ["end"]))

    lost = False
    for number in range(200):
        if number == 100:
            restarting = asyncio.create_task(asyncio.to_thread(server.restart))
        try:
            await producer.put(lines(number * 10, number * 10 + 9))
        except TransportLost:
            lost = True
            break
    await restarting
    await producer.put([line("end")])

    kept = (await storing)[:-1]
    assert kept == [str(number) for number in range(len(kept))]
    assert len(kept) == 2000 or lost


async def test_what_is_still_there_when_the_consumers_node_came_back_empty_finds_a_reader(
    redis_server: RedisServer, connect: Connect
) -> None:
    transport = connect(redis_server)
    first = await put_one(transport, "1")
    consumer = transport.consumer()
    await take_until(consumer, 1)
    second = await put_one(transport, "2")

    with redis_server.client() as client:
        client.delete(*client.keys(f"{transport._options['prefix']}{{spooler}}*"))

    rest: list[Delivery] = []
    while {delivery.fid for delivery in rest} != {first.fid, second.fid}:
        rest += await take_until(consumer, 1)
    assert (texts(rest, first.fid), texts(rest, second.fid)) == (["1"], ["2"])


async def test_a_server_that_came_back_with_an_older_grant_is_told_the_newer(
    redis_server: RedisServer, connect: Connect
) -> None:
    transport = connect(redis_server)
    producer = await put_one(transport, "1")
    consumer = transport.consumer()
    await ack_all(consumer, await take_until(consumer, 1))

    with redis_server.client() as client:
        client.hset(transport._names.state(producer.fid), "token", "1")
    await producer.put([line(2)])

    assert texts(await take_until(consumer, 1)) == ["2"]


async def test_a_server_that_came_back_with_fewer_events_than_it_took_is_found_out(
    redis_server: RedisServer, connect: Connect
) -> None:
    transport = connect(redis_server)
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    taken = await take_until(consumer, 1)
    await ack_all(consumer, taken)
    await producer.put(lines(2, 3))

    with redis_server.client() as client:
        client.hset(transport._names.state(producer.fid), "last", "1")
        client.xtrim(transport._names.stream(producer.fid), maxlen=0, approximate=False)

    with pytest.raises(TransportLost):
        await producer.put([line(4)])
    await producer.put([line(5)])
    newer = await take_until(consumer, 1)
    assert texts(newer) == ["5"]
    assert newer[0].batches[0].position > taken[0].batches[0].position


async def test_producers_wait_while_the_server_is_out_of_memory_and_go_on_when_it_is_read(
    own_server: Callable[..., RedisServer], connect: Connect
) -> None:
    server = own_server(maxmemory="12mb", maxmemory_policy="noeviction")
    transport = connect(server)
    producer = transport.producer(new_fid(), OWNER)
    text = "x" * 200_000

    async def put_all() -> None:
        for _ in range(100):
            await producer.put([line(text)])

    putting = asyncio.create_task(put_all())
    with server.client() as client:
        await until(lambda: client.info()["used_memory"] > 11_000_000)
    stored = await store_until(transport.consumer(), lambda stored: len(stored) >= 100)

    await putting
    assert stored == [text] * 100


# the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script", [scripts.PUT, scripts.READ, scripts.ACK, scripts.CLAIM, scripts.BEAT], ids=lambda s: s.name
)
async def test_an_answer_that_gets_lost_neither_loses_nor_doubles(
    redis_server: RedisServer, connect: Connect, script: scripts.Script
) -> None:
    # So that it's called by its short name.
    warm = connect(redis_server)
    warmer = warm.consumer()
    await put_one(warm, "1")
    await ack_all(warmer, await take_until(warmer, 1))
    async with Proxy(redis_server.port) as proxy:
        transport = connect(redis_server, url=f"redis://127.0.0.1:{proxy.port}/0")
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await transport.status()

        proxy.cut_after(script.sha.encode())
        storing = asyncio.create_task(store_until(consumer, lambda stored: stored[-1:] == ["finished"]))
        for number in range(20):
            await producer.put([line(number)])
        await producer.put([END])

        assert await storing == [*(str(number) for number in range(20)), "finished"]
        assert proxy.cuts == 1
        await until(transport.status, lambda status: status.waiting_events == 0)
        await consumer.close()
        await transport.close()


async def test_a_cut_before_the_acknowledgement_gives_it_later(redis_server: RedisServer, connect: Connect) -> None:
    async with Proxy(redis_server.port) as proxy:
        transport = connect(redis_server, url=f"redis://127.0.0.1:{proxy.port}/0")
        consumer = transport.consumer()
        await put_one(transport, "1")
        taken = await take_until(consumer, 1)

        proxy.refusing = True
        proxy.cut()
        acking = asyncio.create_task(ack_all(consumer, taken))
        await asyncio.wait({acking}, timeout=0.3)
        proxy.refusing = False
        await acking

        assert (await transport.status()).waiting_events == 0
        assert await consumer.take(10, 0.0) == []
        await consumer.close()
        await transport.close()


async def test_connections_that_break_all_the_time_lose_nothing(redis_server: RedisServer, connect: Connect) -> None:
    async with Proxy(redis_server.port) as proxy:
        transport = connect(redis_server, url=f"redis://127.0.0.1:{proxy.port}/0")
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        storing = asyncio.create_task(store_until(consumer, lambda stored: stored[-1:] == ["finished"]))

        for number in range(100):
            await producer.put([line(number)])
            if number % 10 == 5:
                proxy.cut()
        await producer.put([END])

        assert await storing == [*(str(number) for number in range(100)), "finished"]
        await consumer.close()
        await transport.close()


async def test_a_slow_server_keeps_the_order(redis_server: RedisServer, connect: Connect) -> None:
    async with Proxy(redis_server.port) as proxy:
        proxy.delay_s = 0.1
        transport = connect(redis_server, url=f"redis://127.0.0.1:{proxy.port}/0")
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        storing = asyncio.create_task(store_until(consumer, lambda stored: stored[-1:] == ["finished"]))

        for number in range(5):
            await producer.put([line(number)])
        await producer.put([END])

        assert await storing == ["0", "1", "2", "3", "4", "finished"]
        proxy.delay_s = 0.0
        await consumer.close()
        await transport.close()


async def test_more_than_a_slow_network_carries_in_time_arrives_in_pieces(
    redis_server: RedisServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 1.0)
    texts = [f"{number} " + "x" * 200_000 for number in range(14)]
    near = connect(redis_server)
    producer = near.producer(new_fid(), OWNER)
    async with Proxy(redis_server.port) as proxy:
        proxy.delay_s = 0.05
        far = connect(
            redis_server,
            url=f"redis://127.0.0.1:{proxy.port}/0",
            prefix=near._options["prefix"],
            block_ms=100,
        )
        for text in texts:
            await producer.put([line(text)])

        assert await store_until(far.consumer(), lambda stored: len(stored) >= len(texts)) == texts

        proxy.delay_s = 0.0
        await far.close()


async def test_a_feed_whose_connection_breaks_says_so_and_goes_on(redis_server: RedisServer, connect: Connect) -> None:
    async with Proxy(redis_server.port) as proxy:
        transport = connect(redis_server, url=f"redis://127.0.0.1:{proxy.port}/0")
        consumer, feed = transport.consumer(), transport.commits()
        first = await put_one(transport, "1")
        await ack_all(consumer, await take_until(consumer, 1))
        assert await feed.wait() == {first.fid}
        waiting = asyncio.create_task(feed.wait())
        before = proxy.connections
        await until(lambda: proxy.connections >= before)
        await asyncio.wait({waiting}, timeout=0.2)

        proxy.cut()
        with pytest.raises(TransportUnavailable):
            await waiting
        second = await put_one(transport, "2")
        await ack_all(consumer, await take_until(consumer, 1))

        async with asyncio.timeout(30):
            assert second.fid in await feed.wait()
        await feed.close()
        await consumer.close()
        await transport.close()


async def test_a_server_that_stands_still_holds_up_and_loses_nothing(
    own_server: Callable[..., RedisServer], connect: Connect
) -> None:
    server = own_server()
    transport = connect(server)
    producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
    await producer.put([line(1)])
    assert texts(await take_until(consumer, 1)) == ["1"]

    server.pause()
    putting = asyncio.create_task(producer.put([line(2)]))
    await asyncio.wait({putting}, timeout=0.5)
    assert not putting.done()
    server.resume()

    await putting
    assert texts(await take_until(consumer, 1)) == ["2"]
