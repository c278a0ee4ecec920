"""`koco doctor` asks real servers, sound ones and such that lack something."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kodosumi import schema
from kodosumi.doctor import State, databases, durable, events, files, ray_cluster
from kodosumi.execution import temporal_client
from kodosumi.transport import connect_transport
from tests.conditions import until
from tests.doctor import found, settings
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.servers.server import free_port
from tests.servers.temporal import TemporalServer

OK, WARNING, WRONG = State.OK, State.WARNING, State.WRONG


# databases ----------------------------------------------------------------------------------------------------------


async def test_a_database_of_this_version_is_fine_and_its_clock_agrees(tmp_path: Path, postgres_url: str) -> None:
    told = await found(
        databases.check, settings(tmp_path, admin_database=postgres_url, execution_database=postgres_url)
    )
    assert {name: each.state for name, each in told.items()} == dict.fromkeys(
        ("admin", "execution", "PostgreSQL", "clock"), OK
    )
    assert "revision" in told["execution"].text


async def test_a_database_without_our_tables_names_the_command(tmp_path: Path, postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database(migrated=False)
    try:
        told = await found(databases.check, settings(tmp_path, execution_database=postgres_server.url(name)))
        assert told["execution"].state is WRONG and "`koco db --upgrade`" in told["execution"].remedy
        # Looking changed nothing.
        assert (
            await schema.current(schema.database_of(_pg(tmp_path, postgres_server, name), "execution"))
        ).revision is None
    finally:
        postgres_server.drop_database(name)


def _pg(tmp_path: Path, server: PostgresServer, name: str):
    return settings(tmp_path, execution_database=server.url(name))


async def test_a_database_of_a_newer_version_or_read_only_is_wrong(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    name = postgres_server.create_database()
    try:
        given = _pg(tmp_path, postgres_server, name)
        postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        assert "takes no writes" in (await found(databases.check, given))["execution"].text
        postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        postgres_server.execute("UPDATE alembic_version_execution SET version_num = '9999'", name)
        told = await found(databases.check, given)
        assert told["execution"].state is WRONG and "Upgrade the package" in told["execution"].remedy
    finally:
        postgres_server.drop_database(name)


async def test_a_database_that_does_not_answer_or_refuses_is_wrong(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    away = f"postgresql+asyncpg://u:hidden-word@127.0.0.1:{free_port()}/d"
    refuses = f"postgresql+asyncpg://u:hidden-word@127.0.0.1:{postgres_server.port}/d"
    for url in (away, refuses):
        told = await found(databases.check, settings(tmp_path, execution_database=url))
        assert told["execution"].state is WRONG and "KODO_EXECUTION_DATABASE" in told["execution"].remedy
        assert "hidden-word" not in str(told)


async def test_an_sqlite_database_is_looked_at_and_not_made(tmp_path: Path) -> None:
    given = settings(tmp_path)
    told = await found(databases.check, given)
    assert {each.state for each in told.values()} == {OK}
    assert not list(tmp_path.iterdir())
    await schema.upgrade(schema.database_of(given, "admin"))
    assert (await found(databases.check, given))["admin"].state is OK
    await schema.downgrade(schema.database_of(given, "admin"), "0001")
    assert "`koco db --upgrade`" in (await found(databases.check, given))["admin"].remedy
    (tmp_path / "admin.db").write_bytes(b"no database at all, but long enough to look like one" * 50)
    assert (await found(databases.check, given))["admin"].state is WRONG


# Redis --------------------------------------------------------------------------------------------------------------


async def test_a_sound_redis_is_fine_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with RedisServer(appendonly="yes") as server:
        given = settings(tmp_path, event_transport="redis", redis_url=server.url())
        told = await found(events.check, given)
        assert {name for name, each in told.items() if each.state is not OK} == {"spooler"}
        assert "`koco spool`" in told["spooler"].remedy
        assert server.keys("") == []
        transport = connect_transport(given)
        consumer = transport.consumer()
        await consumer.take(1, 0.0)
        assert (await found(events.check, given))["spooler"].state is OK
        await consumer.close()
        await transport.close()


async def test_a_redis_that_may_lose_events_is_told(tmp_path: Path) -> None:
    limits = {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}
    with RedisServer(save="60 1", **limits) as server:
        given = settings(tmp_path, event_transport="redis", redis_url=server.url())
        told = await found(events.check, given)
        assert (told["eviction"].state, told["persistence"].state) == (WRONG, WARNING)
        assert "snapshots" in told["persistence"].text
        with server.client() as client:
            client.config_set("maxmemory", "0")
            client.config_set("save", "")
        told = await found(events.check, given)
        assert (told["eviction"].state, told["persistence"].state) == (WARNING, WARNING)
        assert "appendonly no" in told["persistence"].text


async def test_a_redis_user_needs_its_rights(tmp_path: Path) -> None:
    with RedisServer() as server:
        given = settings(
            tmp_path, event_transport="redis", redis_url=f"redis://koco:hidden-word@127.0.0.1:{server.port}/0"
        )
        needed = ["-@all", "+@read", "+@write", "+@scripting", "+@connection", "+@blocking"]
        for categories, keys, state in (
            (needed, "kodo:events:*", OK),
            (["-@all", "+@read", "+@scripting", "+@connection"], "kodo:events:*", WRONG),
            (needed, "other:*", WRONG),
            (["-@all"], "kodo:events:*", WRONG),
        ):
            with server.client() as client:
                client.acl_setuser(
                    "koco",
                    enabled=True,
                    reset=True,
                    passwords=["+hidden-word"],
                    keys=[keys],
                    categories=categories,
                    commands=["+info", "+time"] if len(categories) > 1 else ["+ping"],
                )
            told = await found(events.check, given)
            assert told["rights"].state is state, (categories, told)
            assert state is OK or "+@scripting" in told["rights"].remedy
            assert "hidden-word" not in str(told)


async def test_a_redis_that_is_away_or_wants_a_password_is_wrong(tmp_path: Path) -> None:
    given = settings(tmp_path, event_transport="redis", redis_url=f"redis://:hidden-word@127.0.0.1:{free_port()}/0")
    told = await found(events.check, given)
    assert told["Redis"].state is WRONG and "KODO_REDIS_URL" in told["Redis"].remedy
    with RedisServer(requirepass="another") as server:
        given = settings(tmp_path, event_transport="redis", redis_url=f"redis://127.0.0.1:{server.port}/0")
        assert (await found(events.check, given))["Redis"].state is WRONG


# Temporal -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def polling(given):
    """A worker of the settings' queue that does nothing."""
    from temporalio import activity
    from temporalio.worker import Worker

    @activity.defn(name="nothing")
    async def nothing() -> None: ...

    client = await temporal_client.connect(given, lazy=False)
    async with Worker(client, task_queue=given.temporal_task_queue, activities=[nothing]):
        yield


async def test_temporal_with_a_worker_is_fine_and_without_one_doubtful(
    tmp_path: Path, temporal_server: TemporalServer
) -> None:
    given = settings(
        tmp_path,
        execution_mode="temporal",
        temporal_host=temporal_server.address,
        temporal_task_queue=f"doctor-{tmp_path.name}",
    )
    told = await found(durable.check, given)
    assert (told["Temporal"].state, told["worker"].state) == (OK, WARNING)
    assert "`koco temporal-worker`" in told["worker"].remedy
    async with polling(given):
        told = await until(lambda: found(durable.check, given), lambda told: told["worker"].state is OK)
        assert told["clock"].state is OK


async def test_temporal_that_is_away_or_has_no_such_namespace_is_wrong(
    tmp_path: Path, temporal_server: TemporalServer
) -> None:
    away = settings(tmp_path, execution_mode="temporal", temporal_host=f"127.0.0.1:{free_port()}")
    told = await found(durable.check, away)
    assert told["Temporal"].state is WRONG and "KODO_TEMPORAL_HOST" in told["Temporal"].remedy
    lacks = settings(
        tmp_path, execution_mode="temporal", temporal_host=temporal_server.address, temporal_namespace="none-such"
    )
    told = await found(durable.check, lacks)
    assert told["Temporal"].state is WRONG and "KODO_TEMPORAL_NAMESPACE" in told["Temporal"].text


async def test_nothing_is_said_of_temporal_where_runs_are_not_durable(tmp_path: Path) -> None:
    assert await found(durable.check, settings(tmp_path)) == {}


# files --------------------------------------------------------------------------------------------------------------


async def test_a_bucket_is_listed_and_one_that_is_not_there_is_wrong(
    tmp_path: Path, s3_server: S3Server, s3_url: str
) -> None:
    assert (await found(files.check, settings(tmp_path, file_store=s3_url)))["file store"].state is OK
    bucket = s3_url.removeprefix("s3://").partition("/")[0]
    assert bucket in s3_server.get(f"/{bucket}") and "<Key>" not in s3_server.get(f"/{bucket}")
    told = await found(files.check, settings(tmp_path, file_store="s3://no-such-bucket/kodo"))
    assert told["file store"].state is WRONG and "KODO_FILE_STORE" in told["file store"].remedy


# Ray ----------------------------------------------------------------------------------------------------------------


async def test_the_cluster_that_answers_is_of_our_versions(tmp_path: Path, ray_cluster: str) -> None:
    told = await found(_ray, settings(tmp_path, ray_server=ray_cluster))
    assert {name: each.state for name, each in told.items()} == dict.fromkeys(
        ("cluster", "Ray there", "Python there"), OK
    )


_ray = ray_cluster.check


async def test_what_listens_and_is_no_ray_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = await found(_ray, settings(tmp_path, ray_server=f"127.0.0.1:{free_port()}"))
    assert told["cluster"].state is WRONG and "KODO_RAY_SERVER" in told["cluster"].remedy
    told = await found(_ray, settings(tmp_path, ray_server="ray://localhost:10001"))
    assert told["cluster"].state is WARNING

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        told = await found(_ray, settings(tmp_path, ray_server=f"127.0.0.1:{port}"))
    assert told["cluster"].state is WRONG


async def test_where_no_cluster_runs_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    told = await found(_ray, settings(tmp_path, ray_server=None))
    assert told["cluster"].state is WARNING and "`koco start`" in told["cluster"].remedy
