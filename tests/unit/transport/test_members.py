"""Every transport is in the contract suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError
from kodosumi.transport import TRANSPORTS, connect_transport

TESTS = Path(__file__).parents[2]
SHIPPED = [name for name, home in TRANSPORTS.items() if home.startswith("kodosumi.")]
"""Other tests register members of their own."""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_transport_is_in_the_contract_suite(name: str) -> None:
    suites = list(TESTS.glob(f"*/transport/test_{name}_transport.py"))

    assert suites, f"tests/…/transport/test_{name}_transport.py is missing"
    assert "(TransportContract)" in suites[0].read_text()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_transport_is_made_from_settings_without_connecting(name: str) -> None:
    assert connect_transport(Settings(event_transport=name)).name == name


def test_an_unknown_transport_lists_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="ray, memory"):
        connect_transport(Settings(event_transport="pigeon"))
