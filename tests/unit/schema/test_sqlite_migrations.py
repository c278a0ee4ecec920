"""The admin database on SQLite: up, down, adopted from earlier versions, by many at once, and equal to the models."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from kodosumi import schema
from kodosumi.config import Settings
from kodosumi.error import ConfigurationError, StoreUnavailable
from kodosumi.schema.migration import script_folder
from kodosumi.service.database import AdminDatabase, Base
from tests.unit.schema.earlier import ROWS, make_earlier, rows_of


def layout(path: Path) -> set[tuple[str, ...]]:
    """Every table and index with its definition, the way it is written left aside."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name, *sorted(_lines(sql))) for kind, name, sql in found}


def _lines(sql: str) -> list[str]:
    return re.sub(r"\s", "", sql).partition("(")[2].removesuffix(")").split(",")


@pytest.mark.parametrize("name", sorted(schema.REVISIONS))
def test_the_revisions_are_those_of_the_scripts(name: str) -> None:
    scripts = ScriptDirectory.from_config(Config(script_folder() / "alembic.ini", ini_section=name))
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == schema.REVISIONS[name]
    assert scripts.get_heads() == [schema.REVISIONS[name][-1]]


async def test_up_down_and_up_again(database: schema.Database, path: Path) -> None:
    assert (await schema.current(database)).standing is schema.Standing.ABSENT
    await schema.upgrade(database)
    assert (await schema.current(database)).standing is schema.Standing.CURRENT
    first = layout(path)
    await schema.upgrade(database)
    await schema.downgrade(database, "base")
    assert [name for _, name, *_ in layout(path)] == ["alembic_version_admin"]
    assert (await schema.current(database)).standing is schema.Standing.BEHIND
    await schema.upgrade(database)
    assert layout(path) == first


async def test_a_database_from_before_migrations_keeps_all_that_is_in_it(
    database: schema.Database, path: Path, tmp_path: Path
) -> None:
    make_earlier(path)
    assert (await schema.current(database)).standing is schema.Standing.BEHIND
    await schema.upgrade(database)
    assert rows_of(path) == ROWS
    fresh = Settings(admin_database=f"sqlite+aiosqlite:///{tmp_path}/fresh.db", _env_file=None)
    await schema.upgrade(schema.database_of(fresh, "admin"))
    assert layout(path) == layout(tmp_path / "fresh.db")


async def test_a_database_made_at_once_is_what_the_migrations_make(
    settings: Settings, database: schema.Database, path: Path, tmp_path: Path
) -> None:
    made = AdminDatabase(settings)
    await made.open()
    await made.close()
    assert (await schema.current(database)).standing is schema.Standing.CURRENT
    other = Settings(admin_database=f"sqlite+aiosqlite:///{tmp_path}/other.db", _env_file=None)
    await schema.upgrade(schema.database_of(other, "admin"))
    assert layout(path) == layout(tmp_path / "other.db")


async def test_models_and_migrations_agree(database: schema.Database, path: Path) -> None:
    await schema.upgrade(database)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "version_table": database.version_table}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
    engine.dispose()


async def test_a_database_that_many_open_first_is_made_once(settings: Settings, path: Path) -> None:
    panels = [AdminDatabase(settings) for _ in range(8)]
    await asyncio.gather(*(panel.open() for panel in panels))
    await asyncio.gather(*(panel.close() for panel in panels))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version_admin").fetchall() == [("0002",)]


async def test_an_upgrade_that_fails_changes_nothing(database: schema.Database, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sessions (something_else TEXT)")
    before = layout(path)
    with pytest.raises(ConfigurationError, match="KODO_ADMIN_DATABASE"):
        await schema.upgrade(database)
    assert layout(path) == before


async def test_nothing_runs_on_a_database_that_is_behind(settings: Settings, path: Path) -> None:
    make_earlier(path)
    database = AdminDatabase(settings)
    with pytest.raises(ConfigurationError, match=r"behind.*koco db --upgrade") as caught:
        await database.open()
    await database.close()
    assert "\n" not in str(caught.value)
    assert rows_of(path) == ROWS


async def test_nothing_runs_on_a_database_of_a_newer_version(settings: Settings, database: schema.Database) -> None:
    await schema.upgrade(database)
    assert database.path is not None
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("UPDATE alembic_version_admin SET version_num = '9999'")
        connection.commit()
    assert (await schema.current(database)).standing is schema.Standing.AHEAD
    for attempt in (
        schema.require_current(settings),
        schema.upgrade(database),
        schema.downgrade(database, "base"),
    ):
        with pytest.raises(ConfigurationError, match=r"9999.*upgrade the package"):
            await attempt


async def test_a_revision_that_is_not_there_is_said_with_those_that_are(database: schema.Database) -> None:
    await schema.upgrade(database)
    with pytest.raises(ConfigurationError, match="no revision 'x'; it has base, 0001, 0002"):
        await schema.downgrade(database, "x")


async def test_a_file_that_is_no_database_is_named(settings: Settings, database: schema.Database, path: Path) -> None:
    path.write_bytes(b"this is no database, and never was one" * 100)
    for attempt in (schema.current(database), schema.upgrade(database), schema.require_current(settings)):
        with pytest.raises(ConfigurationError, match="KODO_ADMIN_DATABASE"):
            await attempt


async def test_waiting_ends_when_the_database_answers_and_each_reason_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kodosumi.schema.requirement.FIRST_RETRY_S", 0.001)
    reasons, said = ["down.", "down.", "starting."], []

    async def work() -> str:
        if reasons:
            raise StoreUnavailable(reasons.pop(0))
        return "done"

    assert await schema.until_reached(work, said.append) == "done"
    assert said == ["down; trying again", "starting; trying again", "the database answers"]


def test_no_password_is_in_a_database_that_is_printed() -> None:
    url = "postgresql+asyncpg://user:geheim@host/name"
    settings = Settings(admin_database=url, execution_database=url, _env_file=None)
    admin, execution = schema.databases(settings)
    assert "geheim" not in repr(admin) and "geheim" not in execution.shown
    assert execution.shown == "user@host/name"
