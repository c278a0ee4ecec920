"""Both histories in one PostgreSQL database: up, down, with data, by many at once, refused, behind a pooler."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine

from kodosumi import schema
from kodosumi.config import Settings
from kodosumi.error import ConfigurationError, StoreError, StoreUnavailable
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.service.accounts import all_roles
from kodosumi.service.database import TABLE_MODULES, Base
from kodosumi.service.parts import opened_database
from kodosumi.store import connect_store, tables
from tests.conditions import until
from tests.integration.schema.processes import running
from tests.servers.pgbouncer import PgBouncer, require_binary
from tests.servers.postgres import PostgresServer
from tests.unit.schema.earlier import ROWS, make_earlier, rows_of

assert TABLE_MODULES == (".flow.table", ".idempotency.table")
import kodosumi.service.flow.table  # noqa: E402 - its table joins the models
import kodosumi.service.idempotency.table  # noqa: E402, F401 - likewise

MODELS: dict[str, MetaData] = {"admin": Base.metadata, "execution": tables.metadata}
SEARCH = "ix_execution_details_search"

LAYOUT = """
SELECT 'column', table_name || '.' || column_name,
       data_type || coalesce(character_maximum_length::text, '') || is_nullable || coalesce(column_default, '')
       || is_identity || coalesce(col_description(table_name::regclass, ordinal_position), '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
          WHERE connamespace = 'public'::regnamespace
"""

UPGRADE = """
import asyncio, sys
from kodosumi import schema
from kodosumi.config import load_settings
from sqlalchemy.ext import asyncio as slow_to_import
print("ready", flush=True)
sys.stdin.readline()
for database in schema.databases(load_settings()) + schema.databases(load_settings(admin_database=sys.argv[1])):
    asyncio.run(schema.upgrade(database))
"""

INSERT = (
    "INSERT INTO executions (fid, username, version, seq, state, started_at, changed_at, modified_at) "
    "VALUES ('{fid}', '{user}', 1, {seq}, 'running', 1, 1, 1)"
)


def layout(server: PostgresServer, name: str) -> set[tuple[Any, ...]]:
    found = server.execute(LAYOUT, name)
    return {row for row in found if not row[1].startswith(("alembic_", SEARCH))}


async def upgrade(settings: Settings) -> None:
    for database in schema.databases(settings):
        await schema.upgrade(database)


async def test_up_down_and_up_again_each_history_alone(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    admin, execution = schema.databases(settings)
    assert (await schema.current(admin)).standing is schema.Standing.BEHIND
    await upgrade(settings)
    both = layout(postgres_server, name)
    await schema.downgrade(execution, "base")
    assert (await schema.current(admin)).standing is schema.Standing.CURRENT
    assert (await schema.current(execution)).standing is schema.Standing.BEHIND
    await schema.downgrade(admin, "base")
    assert layout(postgres_server, name) == set()
    await upgrade(settings)
    assert layout(postgres_server, name) == both


async def test_models_and_migrations_make_the_same_tables_indexes_and_constraints(
    settings: Settings, url: str, postgres_server: PostgresServer, name: str
) -> None:
    await upgrade(settings)
    other = postgres_server.create_database(migrated=False)
    engine = create_engine(postgres_server.url(other).replace("+asyncpg", "+psycopg"))
    for models in MODELS.values():
        models.create_all(engine)
    engine.dispose()
    assert layout(postgres_server, other) == layout(postgres_server, name)
    postgres_server.drop_database(other)


@pytest.mark.parametrize("history", sorted(schema.REVISIONS))
async def test_alembic_finds_no_difference_between_model_and_migrations(
    settings: Settings, url: str, history: str
) -> None:
    await upgrade(settings)
    names = set(MODELS[history].tables)

    def compare(connection: Connection) -> list[Any]:
        def ours(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
            return name != SEARCH and (kind != "table" or name in names)

        options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), MODELS[history])

    engine = create_engine(url.replace("+asyncpg", "+psycopg"))
    with engine.connect() as connection:
        assert compare(connection) == []
    engine.dispose()


async def test_an_upgrade_with_data_keeps_it(settings: Settings, postgres_server: PostgresServer, name: str) -> None:
    await upgrade(settings)
    execution = schema.database_of(settings, "execution")
    postgres_server.execute(INSERT.format(fid="1", user="u", seq=1), name)
    postgres_server.execute("INSERT INTO roles VALUES (gen_random_uuid(), 'n', 'e', true, 'p', true)", name)
    # As made before there were migrations.
    postgres_server.execute("DROP TABLE alembic_version_admin, idempotency_keys", name)
    await upgrade(settings)
    assert postgres_server.execute("SELECT name FROM roles", name) == [("n",)]
    await schema.downgrade(schema.database_of(settings, "admin"), "base")
    await schema.upgrade(execution)
    assert postgres_server.execute("SELECT fid, username FROM executions", name) == [("1", "u")]


async def test_a_database_of_the_previous_revision_keeps_its_executions_and_notes_from_then_on(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    execution = schema.database_of(settings, "execution")
    await schema.upgrade(execution, "0001")
    assert (await schema.current(execution)).standing is schema.Standing.BEHIND
    postgres_server.execute(INSERT.format(fid="1", user="u", seq=1), name)
    before = layout(postgres_server, name)
    noting = settings.model_copy(update={"webhook_url": "http://localhost:9/hook"})
    lock = Batch(Position(1, 1), [Event(EventKind.LOCK, 1.0, "{}")])

    for _ in range(2):
        await schema.upgrade(execution)
        store = connect_store(noting)
        assert await store.waiting_notices() == 0
        await store.append(new_fid(), "u", [lock])
        assert await store.waiting_notices() == 1
        await store.close()
        await schema.downgrade(execution, "0001")
        assert layout(postgres_server, name) == before
    assert len(postgres_server.execute("SELECT fid FROM executions", name)) == 3


async def test_a_database_without_launches_keeps_its_executions_and_launches_from_then_on(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    execution = schema.database_of(settings, "execution")
    await schema.upgrade(execution, "0002")
    before = layout(postgres_server, name)
    postgres_server.execute(INSERT.format(fid="1", user="u", seq=1), name)
    for _ in range(2):
        await schema.upgrade(execution)
        store = connect_store(settings)
        await store.keep_launch("1", "u", b"x" * 5_000_000)
        assert len(await store.launch("1")) == 5_000_000
        await store.close()
        await schema.downgrade(execution, "0002")
        assert layout(postgres_server, name) == before
    assert postgres_server.execute("SELECT fid, username FROM executions", name) == [("1", "u")]


async def test_what_had_ended_before_the_upgrade_is_counted_by_it(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    execution = schema.database_of(settings, "execution")
    await schema.upgrade(execution, "0003")
    for fid in ("1", "2", "3"):
        postgres_server.execute(INSERT.format(fid=fid, user="u", seq=1), name)
    postgres_server.execute("UPDATE executions SET state = 'finished', finished_at = 2 WHERE fid <> '3'", name)
    postgres_server.execute("UPDATE executions SET purged = true WHERE fid = '2'", name)

    await schema.upgrade(execution)
    store = connect_store(settings)
    assert await store.tally() == ({"running": 1}, {"finished": 1})
    failed = [Event(EventKind.STATUS, 1.0, state) for state in ("starting", "error")]
    await store.append(new_fid(), "u", [Batch(Position(1, 1), failed)])
    assert await store.tally() == ({"running": 1}, {"finished": 1, "error": 1})
    await store.close()


async def test_eight_processes_that_upgrade_at_once_upgrade_once(
    url: str, tmp_path: Path, postgres_server: PostgresServer, name: str
) -> None:
    path = tmp_path / "admin.db"
    make_earlier(path)
    lite = f"sqlite+aiosqlite:///{path}"
    variables = {"KODO_ADMIN_DATABASE": url, "KODO_EXECUTION_DATABASE": url}
    with ExitStack() as stack:
        processes = [stack.enter_context(running(["-c", UPGRADE, lite], tmp_path, variables)) for _ in range(8)]
        for process in processes:
            await until(lambda process=process: process.has_said("ready"), deadline_s=120)
        for process in processes:
            process.say("go")
        codes = [await asyncio.to_thread(process.ended) for process in processes]
        assert codes == [0] * 8, [process.lines for process in processes]
    for history in schema.REVISIONS:
        found = postgres_server.execute(f"SELECT version_num FROM alembic_version_{history}", name)
        assert found == [(schema.REVISIONS[history][-1],)]
    assert rows_of(path) == ROWS


async def test_an_upgrade_that_is_refused_changes_nothing_and_is_not_tried_again(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    postgres_server.execute("CREATE TABLE execution_tally (mine int)", name)
    before = layout(postgres_server, name)
    with pytest.raises(StoreError, match="Nothing was changed") as caught:
        await schema.upgrade(schema.database_of(settings, "execution"))
    assert not isinstance(caught.value, StoreUnavailable)
    assert "\n" not in str(caught.value)
    assert layout(postgres_server, name) == before


async def test_without_trigrams_the_upgrade_warns_and_works(
    settings: Settings, postgres_server: PostgresServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not postgres_server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'weak'"):
        postgres_server.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    postgres_server.execute("GRANT CREATE ON SCHEMA public TO weak", name)
    url = f"postgresql+asyncpg://weak:weak@127.0.0.1:{postgres_server.port}/{name}"
    weak = settings.model_copy(update={"execution_database": url})
    with caplog.at_level(logging.WARNING, "kodosumi.schema"):
        await schema.upgrade(schema.database_of(weak, "execution"))
    assert [record.levelname for record in caplog.records if "pg_trgm" in record.message] == ["WARNING"]
    assert (await schema.current(schema.database_of(weak, "execution"))).standing is schema.Standing.CURRENT
    assert postgres_server.execute(f"SELECT 1 FROM pg_indexes WHERE indexname = '{SEARCH}'", name) == []


async def test_trigrams_in_a_schema_of_their_own_are_found(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    if not postgres_server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
        pytest.skip("this server comes without pg_trgm")
    postgres_server.execute('CREATE SCHEMA "Ext"', name)
    postgres_server.execute('CREATE EXTENSION pg_trgm SCHEMA "Ext"', name)
    await schema.upgrade(schema.database_of(settings, "execution"))
    assert postgres_server.execute(f"SELECT 1 FROM pg_indexes WHERE indexname = '{SEARCH}'", name) == [(1,)]


async def test_wrong_password_unknown_database_and_unknown_host_are_one_line_without_the_password(
    settings: Settings, url: str, postgres_server: PostgresServer
) -> None:
    wrong = {
        "password": url.replace(url.split("//")[1].split("@")[0], "kodosumi:geheim"),
        "createdb": postgres_server.url("nowhere"),
        "host name": "postgresql+asyncpg://kodosumi:geheim@nowhere.invalid/x",
    }
    for text, bad in wrong.items():
        database = schema.database_of(settings.model_copy(update={"execution_database": bad}), "execution")
        for attempt in (schema.current(database), schema.upgrade(database)):
            with pytest.raises(ConfigurationError, match=text) as caught:
                await attempt
            said = str(caught.value)
            assert "KODO_EXECUTION_DATABASE" in said and "\n" not in said
            assert "geheim" not in said and postgres_server.password not in said


async def test_migrations_work_behind_a_pooler(settings: Settings, name: str, postgres_server: PostgresServer) -> None:
    require_binary()
    with PgBouncer(postgres_server) as bouncer:
        url = postgres_server.url(name, bouncer.port)
        pooled = settings.model_copy(update={"admin_database": url, "execution_database": url})
        for database in schema.databases(pooled):
            await asyncio.gather(*(schema.upgrade(database) for _ in range(4)))
            assert (await schema.current(database)).standing is schema.Standing.CURRENT
            await schema.downgrade(database, "base")
            await schema.upgrade(database)


async def test_a_table_that_somebody_holds_is_waited_for_and_given_up_in_time(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    await upgrade(settings)
    hurried = settings.model_copy(update={"database_timeout": 0.3})
    database = schema.database_of(hurried, "execution")
    with postgres_server.connected(name) as holder, holder.transaction():
        holder.execute("SELECT count(*) FROM executions")
        with pytest.raises(StoreUnavailable, match="KODO_DATABASE_TIMEOUT"):
            await schema.downgrade(database, "base")
    assert (await schema.current(database)).standing is schema.Standing.CURRENT
    await schema.downgrade(database, "base")


async def test_a_role_that_may_only_use_the_tables_is_enough_to_run(
    settings: Settings, postgres_server: PostgresServer, name: str
) -> None:
    await upgrade(settings)
    if not postgres_server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'worker'"):
        postgres_server.execute("CREATE ROLE worker LOGIN PASSWORD 'worker'")
    postgres_server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker", name)
    url = f"postgresql+asyncpg://worker:worker@127.0.0.1:{postgres_server.port}/{name}"
    used = settings.model_copy(update={"admin_database": url, "execution_database": url})
    await schema.require_current(used)
    async with opened_database(used) as database:
        assert [role.name for role in await all_roles(database)] == ["admin"]
    store = connect_store(used)
    fid = new_fid()
    await store.check()
    await store.append(fid, "u", [Batch(Position(1, 1), [Event.now(EventKind.FINAL, "x")])])
    assert [found.fid for found in await store.executions()] == [fid]
    assert await store.count() == 1
    await store.changes(0)
    await store.expire(4e9, 10)
    await store.close()
