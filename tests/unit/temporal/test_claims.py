"""Claims of locks while no process serves their run: what becomes of it shows a moment later."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kodosumi.config import Settings
from kodosumi.error import ExecutionNotFound, LaunchUnavailable
from kodosumi.events import new_fid
from kodosumi.execution import temporal
from kodosumi.execution.temporal import TemporalMode
from kodosumi.runner.lock_types import LockClaim, OpenLock


class Pool:
    """Knows of a run's process from a further call on."""

    def __init__(self, from_call: int) -> None:
        self.calls = 0
        self._from_call = from_call

    async def claim_lock(self, fid: str, lid: str) -> LockClaim:
        self.calls += 1
        if self.calls < self._from_call:
            raise ExecutionNotFound(fid)
        return LockClaim(OpenLock(fid, "alice", lid, "ask", None, 0.0), "claim")


def mode_with(pool: Pool, still_open: Iterator[bool]) -> TemporalMode:
    mode = TemporalMode.from_settings(Settings(execution_mode="temporal", _env_file=None))

    async def is_open(_fid: str) -> bool:
        return next(still_open)

    mode._direct = pool  # type: ignore[assignment]
    mode._is_open = is_open  # type: ignore[method-assign]
    return mode


async def test_a_run_that_has_just_ended_is_over_as_soon_as_that_shows() -> None:
    pool = Pool(from_call=100)
    with pytest.raises(ExecutionNotFound):
        await mode_with(pool, iter([True, False])).claim_lock(new_fid(), "lid")
    assert pool.calls == 2


async def test_a_run_whose_next_attempt_begins_is_asked_again() -> None:
    pool = Pool(from_call=3)
    claimed = await mode_with(pool, iter([True, True])).claim_lock(new_fid(), "lid")
    assert (claimed.id, pool.calls) == ("claim", 3)


async def test_a_run_that_stays_between_two_attempts_is_tried_again_by_who_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(temporal, "CHANGE_TIMEOUT_S", 0.0)
    with pytest.raises(LaunchUnavailable, match="Try again"):
        await mode_with(Pool(from_call=100), iter([True, True, True])).claim_lock(new_fid(), "lid")
