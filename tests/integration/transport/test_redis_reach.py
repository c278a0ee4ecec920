"""Every way to reach Redis, and one line for each that fails."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import logging
import pickle
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kodosumi.config import Settings, load_settings
from kodosumi.error import ConfigurationError, TransportUnavailable
from kodosumi.events import new_fid
from kodosumi.transport import connect_transport, transport_from
from kodosumi.transport.redis import RedisTransport
from tests.conditions import until
from tests.servers.redis import RedisServer, redis_cluster
from tests.transport_contract import END, OWNER, ack_all, line, lines, take_until, texts

Serve = Callable[..., RedisServer]
SECRET = "s3cr/t@:%"
SECRET_QUOTED = "s3cr%2Ft%40%3A%25"


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as running:
        yield lambda **settings: running.enter_context(RedisServer(**settings))


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    with redis_cluster(3) as nodes:
        yield nodes


@contextlib.asynccontextmanager
async def reached(url: str) -> AsyncIterator[RedisTransport]:
    transport = RedisTransport(url, prefix=f"test:{uuid4().hex}:")
    yield transport
    await transport.close()


async def carries_events(url: str) -> None:
    """Two executions from the first event to the end, a remote producer and a feed included."""
    async with reached(url) as transport:
        consumer, feed = transport.consumer(), transport.commits()
        producers = [transport.producer(new_fid(), OWNER) for _ in range(2)]
        for producer in producers:
            await producer.put(lines(1, 2))
            ticket = pickle.loads(pickle.dumps(producer.ticket))
            other = transport_from(ticket)
            await other.producer_from(ticket).put([line(3)])
            await other.close()
            await producer.put([END])
        taken = await take_until(consumer, 8)
        assert (await transport.status()).waiting_events == 8
        await ack_all(consumer, taken)

        for producer in producers:
            assert texts(taken, producer.fid) == ["1", "2", "3", "finished"]
        seen: set[str] = set()
        async with asyncio.timeout(60):
            while len(seen) < 2:
                seen |= await feed.wait()
        assert seen == {producer.fid for producer in producers}
        await until(transport.status, lambda status: (status.waiting_events, status.readers[0].executions) == (0, 0))
        await feed.close()
        await consumer.close()
        assert (await transport.status()).consumers == 0


async def failure(url: str) -> str:
    """What each way in says; a consumer that never got through ends what started it."""
    async with reached(url) as transport:
        with pytest.raises(TransportUnavailable) as status:
            await transport.status()
        with pytest.raises(ConfigurationError) as consumer:
            await transport.consumer().take(1, 0.0)
        with pytest.raises(TransportUnavailable) as producer:
            await transport.producer(new_fid(), OWNER).put([line(1)])
        assert str(status.value) == str(consumer.value) == str(producer.value)
        assert "\n" not in str(status.value)
        assert SECRET not in str(status.value) and SECRET_QUOTED not in str(status.value)
        return str(status.value)


# ways in ------------------------------------------------------------------------------------------------------------


async def test_a_password_and_a_database_number(serve: Serve) -> None:
    server = serve(requirepass=SECRET)

    await carries_events(server.url(db=3))

    with server.client() as client:
        client.select(3)
        assert client.dbsize() > 0


async def test_a_user_with_no_more_rights_than_needed(serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.acl_setuser(
            "koco", enabled=True, passwords=[f"+{SECRET}"], keys=["test:*"],
            categories=["-@all", "+@read", "+@write", "+@scripting", "+@connection", "+@blocking"],
            commands=["+info", "+time", "-keys", "-flushall", "-flushdb"],
        )  # fmt: skip

    await carries_events(f"redis://koco:{SECRET_QUOTED}@127.0.0.1:{server.port}/0")


async def test_a_socket_file(serve: Serve) -> None:
    server = serve()

    await carries_events(f"unix://{server.socket}?db=1")


async def test_tls_with_a_certificate_authority_of_ones_own(redis_server: RedisServer, tmp_path: Path) -> None:
    async with tls_in_front(redis_server.port, tmp_path) as port:
        await carries_events(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem")

        assert "certificate is not trusted" in await failure(f"rediss://127.0.0.1:{port}/0")


async def test_a_cluster_of_three(cluster: list[RedisServer]) -> None:
    nodes = ",".join(f"127.0.0.1:{server.port}" for server in cluster[:2])

    for _ in range(3):
        await carries_events(f"redis+cluster://{nodes}")

    assert "redis+cluster://" in await failure(cluster[0].url())
    for server in cluster:
        assert server.keys("test:", lasting=True) == []


async def test_a_node_that_is_no_cluster_is_told_from_one(redis_server: RedisServer) -> None:
    assert "take `+cluster` out" in await failure(f"redis+cluster://127.0.0.1:{redis_server.port}")


@pytest.mark.fault
async def test_sentinels_lead_to_the_new_master_when_the_old_one_dies(serve: Serve) -> None:
    master = serve()
    replica = serve(replicaof=f"127.0.0.1 {master.port}")
    watch = [
        f"sentinel monitor kodo 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds kodo 2000",
        "sentinel failover-timeout kodo 3000",
    ]
    sentinel = serve(sentinel="\n".join(watch))
    with sentinel.client() as client:
        await until(lambda: client.sentinel_master("kodo")["num-slaves"] == 1, deadline_s=60)
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/kodo/0"
    await carries_events(url)

    async with reached(url) as transport:
        consumer = transport.consumer()
        producer = transport.producer(new_fid(), OWNER)
        await producer.put([line(1)])
        taken = await take_until(consumer, 1)
        await producer.put([line(2)])
        with master.client() as client:
            client.wait(1, 5000)
        master.kill()
        with replica.client() as client:
            await until(lambda: client.info("replication")["role"] == "master", deadline_s=60)

        await untiring(lambda: producer.put([line(3)]))
        await untiring(lambda: ack_all(consumer, taken))
        rest = []
        async with asyncio.timeout(60):
            while len(texts(rest)) < 2:
                with contextlib.suppress(TransportUnavailable):
                    rest += await consumer.take(10, 1.0)

        assert texts(rest) == ["2", "3"]
        await consumer.close()


# ways that fail -----------------------------------------------------------------------------------------------------


async def test_a_wrong_password(serve: Serve) -> None:
    server = serve(requirepass="another")

    told = await failure(f"redis://:{SECRET_QUOTED}@127.0.0.1:{server.port}/0")

    assert told == f"Redis at redis://127.0.0.1:{server.port}/0: {told.partition(': ')[2]}"
    assert "password" in told and "KODO_REDIS_URL" in told


async def test_a_missing_password(serve: Serve) -> None:
    assert "put it into KODO_REDIS_URL" in await failure(f"redis://127.0.0.1:{serve(requirepass=SECRET).port}/0")


async def test_a_user_without_rights(serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.acl_setuser("koco", enabled=True, nopass=True, commands=["+ping"])

    assert "rights" in await failure(f"redis://koco:{SECRET_QUOTED}@127.0.0.1:{server.port}/0")


async def test_a_database_number_that_is_not_there(redis_server: RedisServer) -> None:
    assert "no such database number" in await failure(redis_server.url(db=99))


async def test_an_unknown_host() -> None:
    told = await failure(f"redis://:{SECRET_QUOTED}@redis.invalid:6379/0")

    assert "host name is unknown" in told


async def test_where_nobody_listens_it_is_tried_again_and_found(serve: Serve) -> None:
    server = serve()
    server.kill()
    async with reached(server.url()) as transport:
        with pytest.raises(TransportUnavailable, match="nothing listens there: start the server"):
            await transport.status()
        putting = asyncio.create_task(transport.producer(new_fid(), OWNER).put([line(1)]))
        taking = asyncio.create_task(take_until(transport.consumer(), 1))

        server.start()

        await putting
        assert texts(await taking) == ["1"]


async def test_what_is_no_url_is_refused_without_showing_it() -> None:
    for url in ("localhost:6379", f"http://:{SECRET}@host", "redis://host:port/0", "redis+sentinel://host:1"):
        with pytest.raises(ConfigurationError, match="KODO_REDIS_URL cannot be read") as caught:
            RedisTransport(url)
        assert SECRET not in str(caught.value)


async def test_no_password_is_in_what_is_shown_or_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(requirepass=SECRET)
    caplog.set_level(logging.DEBUG)
    settings = Settings(event_transport="redis", redis_url=server.url())
    transport = connect_transport(settings)
    ticket = transport.producer(new_fid(), OWNER).ticket

    await transport.status()
    server.kill()
    with pytest.raises(TransportUnavailable) as caught:
        await transport.status()
    with pytest.raises(ConfigurationError) as unread:
        load_settings(redis_url=5)
    await transport.close()

    for text in (repr(settings), repr(ticket), repr(transport), caplog.text, str(caught.value), str(unread.value)):
        assert SECRET not in text and SECRET_QUOTED not in text


def test_a_missing_driver_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from kodosumi.config import Settings\n"
        "from kodosumi.transport import connect_transport\n"
        "connect_transport(Settings(event_transport='redis'))"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert (
        "ConfigurationError: KODO_EVENT_TRANSPORT=redis: its driver is missing, install `kodosumi[redis]`."
        in ended.stderr
    )


# what the tests need ------------------------------------------------------------------------------------------------


async def untiring(call: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(TransportUnavailable):
                return await call()


@contextlib.asynccontextmanager
async def tls_in_front(port: int, folder: Path) -> AsyncIterator[int]:
    """A port that speaks TLS and passes on to one that doesn't; not every build of Redis can."""
    _write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        tasks.update({asyncio.create_task(copy(reader, there_writer)), asyncio.create_task(copy(there_reader, writer))})

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
