"""Logs say what changes, not what stays."""

from __future__ import annotations

import logging

import pytest

from kodosumi.log import Troubles


def test_a_trouble_is_logged_when_it_begins_changes_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles(logging.getLogger("kodosumi.tried"))
    troubles.end("no disk")
    for reason in ("full", "full", "full", "gone", "gone"):
        troubles.begin("no disk", reason)
    troubles.begin("no network", OSError("down"))
    for what in ("no disk", "no disk", "no network"):
        troubles.end(what)
    assert [record.message for record in caplog.records] == [
        "no disk, trying again: full",
        "no disk, trying again: gone",
        "no network, trying again: down",
        "over: no disk",
        "over: no network",
    ]
