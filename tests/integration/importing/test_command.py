"""``koco db --import`` as a user runs it: a bar in a terminal, plain lines elsewhere, one line for what is wrong."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.events import new_fid
from tests.servers.postgres import PostgresServer
from tests.unit.store.histories import OWNER
from tests.unit.store.layout import older_execution

KOCO = Path(sys.executable).with_name("koco")
OLDER = [("status", 1_000.0, "starting"), ("status", 1_009.0, "finished")]


@pytest.fixture
def executions(folder: Path) -> Path:
    """A folder with three executions."""
    for _ in range(3):
        older_execution(folder, OWNER, new_fid(), OLDER)
    return folder


def environment(url: str | None) -> dict[str, str]:
    return {**os.environ, "KODO_EXECUTION_DATABASE": url or ""}


def in_terminal(command: list[str], url: str, cwd: Path) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment(url), cwd=cwd, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65_536):
                written += chunk
        except OSError:
            # Linux says so when the last process has closed its side
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


def test_a_terminal_shows_a_bar_and_the_summary(settings: Settings, executions: Path, tmp_path: Path) -> None:
    command = [str(KOCO), "db", "--import", str(executions)]

    output = in_terminal(command, settings.execution_database or "", tmp_path)

    assert "6 events" in output
    assert "3/3" in output
    assert "3  imported" in output


def test_elsewhere_there_are_plain_lines_only(settings: Settings, executions: Path, tmp_path: Path) -> None:
    command = [str(KOCO), "db", "--import", str(executions)]
    variables = environment(settings.execution_database)

    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout == "        3  imported\n        0  already there\n"
    assert done.stderr == ""


def test_a_database_without_our_tables_is_refused_with_the_remedy(
    postgres_server: PostgresServer, executions: Path, tmp_path: Path
) -> None:
    name = postgres_server.create_database(migrated=False)
    command = [str(KOCO), "db", "--import", str(executions)]
    variables = environment(postgres_server.url(name))

    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)

    postgres_server.drop_database(name)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "koco db --upgrade" in done.stderr
