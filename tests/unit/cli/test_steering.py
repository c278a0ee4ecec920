"""``koco run``: one clear line, in the name of who runs it, and a remedy when it can't be done."""

from __future__ import annotations

import getpass
from typing import Any

import pytest
from typer.testing import CliRunner

from kodosumi import cli
from kodosumi.error import ConfigurationError, ExecutionClosed, LaunchUnavailable
from kodosumi.start import steering
from kodosumi.start.steering import Action

FID = "65f2c0ffee0000000000abcd"


class Mode:
    """A member of the family for which one run lives."""

    name = "memory"

    def __init__(self) -> None:
        self.steered: list[tuple[str, str, str]] = []
        self.closed = False
        self.away = False

    async def pause(self, fid: str, by: str) -> bool:
        return self._steer("pause", fid, by)

    async def resume(self, fid: str, by: str) -> bool:
        return self._steer("resume", fid, by)

    async def cancel(self, fid: str, by: str) -> bool:
        return self._steer("cancel", fid, by)

    async def close(self) -> None:
        self.closed = True

    def _steer(self, action: str, fid: str, by: str) -> bool:
        if self.away:
            raise LaunchUnavailable("The Ray cluster cannot be used: it is away")
        self.steered.append((action, fid, by))
        return fid == FID


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> Mode:
    made = Mode()
    monkeypatch.setattr(steering, "connect_mode", lambda settings: made)
    return made


def koco(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["run", *arguments])


@pytest.mark.parametrize("action", Action)
def test_a_run_is_steered_in_the_name_of_the_systems_user(mode: Mode, action: Action) -> None:
    result = koco(action, FID)

    assert (result.exit_code, result.stdout.count("\n"), FID in result.stdout) == (0, 1, True)
    assert mode.steered == [(action, FID, getpass.getuser())]
    assert mode.closed


@pytest.mark.parametrize("action", Action)
def test_a_run_that_does_not_live_there_fails_with_what_to_look_at(mode: Mode, action: Action) -> None:
    result = koco(action, "0" * 24)

    assert result.exit_code == 1 and isinstance(result.exception, ExecutionClosed)
    assert "KODO_EXECUTION_MODE=memory" in str(result.exception)
    assert mode.closed


def test_a_cluster_that_cannot_answer_fails_with_its_reason(mode: Mode) -> None:
    mode.away = True
    result = koco("pause", FID)

    assert result.exit_code == 1 and isinstance(result.exception, LaunchUnavailable)
    assert mode.closed


@pytest.mark.parametrize("fid", ["abc", "", FID.upper(), FID + "0"])
def test_what_is_no_execution_id_is_not_asked_for(mode: Mode, fid: str) -> None:
    result = koco("cancel", fid)

    assert isinstance(result.exception, ConfigurationError)
    assert mode.steered == []


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert steering.current_user().isdigit()
