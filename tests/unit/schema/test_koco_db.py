"""``koco db``: what it prints and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kodosumi.cli import app
from kodosumi.error import ConfigurationError
from tests.unit.schema.earlier import ROWS, make_earlier, rows_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KODO_EXECUTION_DATABASE", raising=False)
    monkeypatch.setenv("KODO_ADMIN_DATABASE", f"sqlite+aiosqlite:///{path}")


def koco_db(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["db", *arguments])


def test_without_an_option_it_shows_its_help_and_fails() -> None:
    result = koco_db()
    assert result.exit_code == 2
    assert "--upgrade" in result.output and "--import" in result.output


def test_two_options_at_once_are_refused() -> None:
    result = koco_db("--upgrade", "--check")
    assert result.exit_code == 2
    assert "at a time" in result.output


def test_a_database_that_is_not_there_yet_passes_the_check_and_is_not_made(path: Path) -> None:
    result = koco_db("--check")
    assert result.exit_code == 0
    assert result.output == f"admin   sqlite   {path}   - (not there yet)\n"
    assert not path.exists()


def test_a_check_fails_until_the_upgrade(path: Path) -> None:
    make_earlier(path)
    behind = koco_db("--check")
    assert behind.exit_code == 1
    assert "koco db --upgrade" in behind.output
    assert koco_db("--current").exit_code == 0
    assert "(behind, needs 0002)" in koco_db("--current").output
    assert koco_db("--upgrade").exit_code == 0
    checked = koco_db("--check")
    assert (checked.exit_code, checked.output) == (0, f"admin   sqlite   {path}   0002 (current)\n")
    assert rows_of(path) == ROWS


def test_an_upgrade_of_what_is_current_only_says_so(path: Path) -> None:
    koco_db("--upgrade")
    assert koco_db("--upgrade").output == f"admin   sqlite   {path}   0002 (current)\n"


@pytest.mark.parametrize("target", ["base", "admin:base"])
def test_a_downgrade_to_base_removes_everything(path: Path, target: str) -> None:
    koco_db("--upgrade")
    result = koco_db("--downgrade", target)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("- (behind, needs 0002)\n")


@pytest.mark.parametrize("target", ["admin:0815", "0815", "execution:base", "nothing:base", ":base", "admin:"])
def test_a_downgrade_to_nowhere_is_refused_before_anything_happens(path: Path, target: str) -> None:
    koco_db("--upgrade")
    result = koco_db("--downgrade", target)
    assert isinstance(result.exception, ConfigurationError)
    assert koco_db("--check").exit_code == 0
