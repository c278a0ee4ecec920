"""Every execution mode is in the contract suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError
from kodosumi.execution import MODES, connect_mode

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(MODES))
def test_every_mode_is_in_the_contract_suite(name: str) -> None:
    suites = list(TESTS.glob(f"*/execution/test_{name}_mode.py"))

    assert suites, f"tests/…/execution/test_{name}_mode.py is missing"
    assert "(ModeContract)" in suites[0].read_text()


@pytest.mark.parametrize("name", list(MODES))
def test_every_mode_is_made_from_settings_without_connecting(name: str) -> None:
    assert connect_mode(Settings(execution_mode=name, _env_file=None)).name == name


def test_an_unknown_mode_lists_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="direct, temporal, memory"):
        connect_mode(Settings(execution_mode="pigeon", _env_file=None))
