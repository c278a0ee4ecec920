"""Which attempt follows, and when."""

from __future__ import annotations

import pytest

from kodosumi.events import ExecutionState
from kodosumi.runner.attempts import checked, delay_s, following, outcome_of
from kodosumi.runner.run import RunOutcome
from kodosumi.runner.spec import AppEnvironment, Attempt, AttemptEnd, AttemptOutcome, KeptLock, Retry, RunSpec


def spec(retry: Retry | None, number: int = 1) -> RunSpec:
    return RunSpec("f" * 24, "u", AppEnvironment("a"), "m:n", b"", "", "", retry=retry, attempt=Attempt(number))


RAISED = RunOutcome(
    ExecutionState.RUNNING, True, "", AttemptEnd.RAISED, "ValueError: no", 2.0, (KeptLock("l", "ask", None, 1.0),)
)


@pytest.mark.parametrize(
    ("retry", "number", "last"), [(None, 1, False), (Retry(1), 1, True), (Retry(3), 2, False), (Retry(3), 3, True)]
)
def test_an_attempt_knows_whether_it_is_the_last(retry: Retry | None, number: int, last: bool) -> None:
    assert checked(spec(retry, number)).attempt.last is last


def test_the_next_attempt_takes_over_what_the_one_before_leaves() -> None:
    attempt = following(spec(Retry(2)), RAISED).attempt
    assert attempt == Attempt(number=2, reason="ValueError: no", kept=RAISED.kept, last=True, ran_s=2.0)
    assert outcome_of(RAISED) == AttemptOutcome(AttemptEnd.RAISED, "ValueError: no", 2.0)


@pytest.mark.parametrize(("number", "seconds"), [(1, 1.5), (2, 3.0), (3, 6.0), (7, 60.0), (100_000, 60.0)])
def test_the_pause_between_attempts_doubles_up_to_a_minute(number: int, seconds: float) -> None:
    assert delay_s(spec(Retry(200_000, delay=1.5), number)) == seconds
    assert delay_s(spec(None)) == 0.0
