"""What tests ask `koco doctor`: the findings, by area and subject."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kodosumi.config import Settings
from kodosumi.doctor import Finding, State

Check = Callable[[Settings], AsyncIterator[Finding]]


def settings(folder: Path, **given: Any) -> Settings:
    """Settings that touch nothing outside a folder."""
    chosen: dict[str, Any] = {
        "admin_database": f"sqlite+aiosqlite:///{folder}/admin.db",
        "exec_dir": folder / "execution",
        "upload_dir": folder / "uploads",
        "app_log_file": None,
        "spooler_log_file": None,
        "temporal_log_file": None,
    }
    return Settings(_env_file=None, **(chosen | given))


async def found(check: Check, given: Settings) -> dict[str, Finding]:
    """Finding by subject, the worst of each; every one that isn't fine says what to do."""
    worst: dict[str, Finding] = {}
    async for finding in check(given):
        assert "\n" not in finding.text
        assert (finding.state is State.OK) == (finding.remedy == "")
        if finding.subject not in worst or list(State).index(finding.state) > list(State).index(
            worst[finding.subject].state
        ):
            worst[finding.subject] = finding
    return worst


def without_our_variables(patch: pytest.MonkeyPatch) -> None:
    """Takes every ``KODO_`` variable out of the environment."""
    for name in list(os.environ):
        if name.upper().startswith("KODO_"):
            patch.delenv(name)


@contextmanager
def held_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else is given meanwhile."""
    with socket.socket() as holder:
        # So that whoever asks for this very port may bind it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
