"""What panel, spooler and `koco start` do when a database is behind, down, or can't be used at all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kodosumi import schema
from kodosumi.config import Settings
from kodosumi.start.stack import Stack
from tests.conditions import until
from tests.integration.schema.processes import KOCO, running
from tests.servers.postgres import PostgresServer
from tests.servers.server import free_port
from tests.unit.schema.earlier import ROWS, make_earlier, rows_of

START_S = 120.0
COMMANDS = {
    "panel": ("serve",),
    "panels": ("serve", "--app-workers", "2"),
    "spooler": ("spool", "--block"),
    "spooler in the background": ("spool",),
    "everything": ("start",),
}
REFUSING = [name for name in COMMANDS if name != "everything"]
ENDED_BY = [
    ("panel", signal.SIGINT),
    ("panel", signal.SIGTERM),
    ("spooler", signal.SIGINT),
    ("spooler", signal.SIGTERM),
    ("everything", signal.SIGINT),
]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Of an installation that has everything in a folder and needs no Ray."""
    return {
        "KODO_ADMIN_DATABASE": f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        "KODO_EXEC_DIR": str(tmp_path / "execution"),
        "KODO_EVENT_TRANSPORT": "memory",
        "KODO_EXECUTION_MODE": "memory",
        "KODO_APP_SERVER": f"http://127.0.0.1:{free_port()}",
    }


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with PostgresServer() as server:
        yield server


async def run(command: str, folder: Path, variables: dict[str, str]) -> tuple[int, list[str]]:
    """Exit code and output of a command that is to end by itself."""
    with running([*KOCO, *COMMANDS[command]], folder, variables) as process:
        return await asyncio.to_thread(process.ended), process.lines


@pytest.mark.parametrize("command", REFUSING)
async def test_nothing_runs_on_an_execution_database_that_is_behind(
    command: str, tmp_path: Path, variables: dict[str, str], url: str, postgres_server: PostgresServer
) -> None:
    code, lines = await run(command, tmp_path, variables | {"KODO_EXECUTION_DATABASE": url})
    assert code == 2, lines
    assert len(lines) == 1, lines
    assert "KODO_EXECUTION_DATABASE" in lines[0] and "koco db --upgrade" in lines[0]
    assert postgres_server.password not in lines[0]


async def test_no_panel_runs_on_an_admin_database_that_is_behind(tmp_path: Path, variables: dict[str, str]) -> None:
    make_earlier(tmp_path / "admin.db")
    code, lines = await run("panel", tmp_path, variables)
    assert (code, len(lines)) == (2, 1), lines
    assert "KODO_ADMIN_DATABASE" in lines[0] and "koco db --upgrade" in lines[0]


@pytest.mark.parametrize("command", ["panel", "spooler", "everything"])
async def test_a_wrong_password_is_one_line_and_the_end(
    command: str, tmp_path: Path, variables: dict[str, str], postgres_server: PostgresServer
) -> None:
    url = f"postgresql+asyncpg://kodosumi:geheim@127.0.0.1:{postgres_server.port}/postgres"
    code, lines = await run(command, tmp_path, variables | {"KODO_EXECUTION_DATABASE": url})
    assert (code, len(lines)) == (2, 1), lines
    assert "password" in lines[0] and "KODO_EXECUTION_DATABASE" in lines[0] and "geheim" not in lines[0]


@pytest.mark.parametrize(("command", "number"), ENDED_BY)
async def test_a_signal_ends_the_waiting_for_a_database(
    command: str, number: signal.Signals, tmp_path: Path, variables: dict[str, str]
) -> None:
    url = f"postgresql+asyncpg://kodosumi:geheim@127.0.0.1:{free_port()}/postgres"
    with running([*KOCO, *COMMANDS[command]], tmp_path, variables | {"KODO_EXECUTION_DATABASE": url}) as process:
        await until(lambda: process.has_said("trying again"), deadline_s=START_S)
        process.send(number)
        assert await asyncio.to_thread(process.ended) == 0, process.lines
        waiting = [line for line in process.lines if "trying again" in line]
        assert len(waiting) == 1 and "KODO_EXECUTION_DATABASE" in waiting[0] and "geheim" not in waiting[0]


async def test_panels_and_spooler_begin_when_the_server_does(
    tmp_path: Path, variables: dict[str, str], own_server: PostgresServer
) -> None:
    name = own_server.create_database()
    url = own_server.url(name)
    own_server.stop()
    variables |= {"KODO_EXECUTION_DATABASE": url, "KODO_ADMIN_DATABASE": url}
    address = variables["KODO_APP_SERVER"]

    async def alive() -> bool:
        # Without the certificates, which each try would read anew.
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            return (await client.get(f"{address}/health/live")).status_code == 200

    with (
        running([*KOCO, *COMMANDS["panels"]], tmp_path, variables) as panels,
        running([*KOCO, *COMMANDS["spooler"]], tmp_path, variables) as spooler,
    ):
        for process in (panels, spooler):
            await until(lambda process=process: process.has_said("trying again"), deadline_s=START_S)
        own_server.start()
        for process in (panels, spooler):
            await until(lambda process=process: process.has_said("the database answers"), deadline_s=START_S)
        await until(alive, deadline_s=START_S)
        panels.send(signal.SIGINT)
        spooler.send(signal.SIGINT)
        assert await asyncio.to_thread(panels.ended) == 0, panels.lines
        assert await asyncio.to_thread(spooler.ended) == 0, spooler.lines


async def test_koco_start_upgrades_by_itself_and_says_so(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "admin.db"
    make_earlier(path)
    settings = Settings(admin_database=f"sqlite+aiosqlite:///{path}", execution_database=url, _env_file=None)
    for said in (2, 0):
        await Stack(settings, [], tmp_path)._upgrade_databases()
        assert capsys.readouterr().out.count("upgrading") == said
    for database in schema.databases(settings):
        assert (await schema.current(database)).standing is schema.Standing.CURRENT
    assert rows_of(path) == ROWS
