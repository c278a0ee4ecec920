"""Where the pool has locks answered, when no process serves their run just now."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kodosumi.config import Settings
from kodosumi.error import ExecutionNotFound, LaunchUnavailable, LockNotFound
from kodosumi.events import new_fid
from kodosumi.runner import pool_locks
from kodosumi.runner.lock_types import LockClaim, OpenLock
from kodosumi.runner.pool_locks import LockDesk
from kodosumi.runner.pool_runs import Run, Runs
from kodosumi.runner.pool_serving import Serving
from kodosumi.runner.spec import AppEnvironment, AttemptEnd, AttemptOutcome, RunSpec
from kodosumi.transport.memory import MemoryTransport


class Pool:
    """A desk, and one durable run that nobody serves yet."""

    def __init__(self) -> None:
        self.runs = Runs(MemoryTransport())
        self.desk = LockDesk(self.runs, Serving(Settings(_env_file=None), self.runs).stock)
        spec = RunSpec(new_fid(), "ann", AppEnvironment("test"), "agent:run", b"", "{}", "{}", durable=True)
        self.run: Run = self.runs.add(spec)
        self.run.number = 1


@pytest.fixture
async def pool() -> Pool:
    return Pool()


async def test_before_its_first_attempt_a_run_has_no_locks(pool: Pool) -> None:
    with pytest.raises(LockNotFound):
        await pool.desk.lock(pool.run.fid, "a")


async def test_a_lock_that_its_process_could_not_tell_of_any_more_is_not_called_unknown(pool: Pool) -> None:
    pool.runs.rest(pool.run, AttemptOutcome(AttemptEnd.DIED, "gone"))

    with pytest.raises(LaunchUnavailable, match="started again"):
        await pool.desk.lock(pool.run.fid, "a")


async def test_a_claim_that_was_held_for_long_has_its_time_for_the_process_that_takes_over(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000.0]
    # Of this module alone: the event loop has its own.
    monkeypatch.setattr(pool_locks, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    terms = OpenLock(pool.run.fid, "ann", "a", "ask", None, 9e9)

    class Process:
        async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim:
            return LockClaim(terms, claim)

    class Leaving:
        async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim:
            # Held behind another claim for longer than a call waits for a change, until the lock moves on.
            clock[0] += 60.0
            pool.run.process = Process()  # type: ignore[assignment]
            raise ExecutionNotFound(fid)

    pool.run.process = Leaving()  # type: ignore[assignment]

    assert (await pool.desk.claim(pool.run.fid, "a", "c")).lock == terms
