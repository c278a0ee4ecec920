"""Runs user code in this process, against a recorder in place of a transport."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kodosumi.events import new_fid
from kodosumi.runner import run as run_module
from kodosumi.runner.main import Runner, RunOutcome
from kodosumi.runner.spec import AppEnvironment
from kodosumi.transport import ProducerTicket
from tests.unit.runner.recorder import RECORDS, Record, spec_of


@pytest.fixture
def ticket() -> ProducerTicket:
    return ProducerTicket(new_fid(), "tester", "recorder", {}, max_event_bytes=1_000_000)


@pytest.fixture
def record(ticket: ProducerTicket) -> Record:
    return RECORDS.setdefault(ticket.fid, Record())


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    # Whoever cleans up needs a moment at most; on a busy machine that may be long.
    monkeypatch.setattr(run_module, "GRACE_S", 60.0)
    before = Path.cwd()
    yield Runner(AppEnvironment("test", python_path=(str(tmp_path),), working_dir=str(tmp_path)))
    os.chdir(before)


class Served:
    """One run, seen from outside."""

    def __init__(self, ticket: ProducerTicket, outcome: RunOutcome) -> None:
        self.ticket = ticket
        self.outcome = outcome
        self.record = RECORDS[ticket.fid]


@pytest.fixture
def serve(runner: Runner) -> Callable[..., Any]:
    """Serves an entry point and gives what came of it."""

    async def served(entry_point: Any, inputs: Any = None, ticket: ProducerTicket | None = None) -> Served:
        ticket = ticket or ProducerTicket(new_fid(), "tester", "recorder", {}, max_event_bytes=1_000_000)
        return Served(ticket, await runner.run(spec_of(ticket.fid, entry_point, inputs), ticket))

    return served
