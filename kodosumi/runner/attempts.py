"""Attempts: which call of a run's code comes next, when, and what it takes over. Nothing here waits."""

from __future__ import annotations

from dataclasses import replace

from .main import RunOutcome
from .spec import Attempt, AttemptOutcome, RunSpec

MAX_DELAY_S = 60.0


def checked(spec: RunSpec) -> RunSpec:
    """The spec, whose attempt knows whether it is the last that an exception can lead to."""
    attempt = spec.attempt
    if spec.retry is None or attempt.last or attempt.number < spec.retry.max_attempts:
        return spec
    return replace(spec, attempt=replace(attempt, last=True))


def following(spec: RunSpec, outcome: RunOutcome) -> RunSpec:
    """The spec of the attempt after one whose user code raised.

    Args:
        spec: of the attempt before, with ``retry``. outcome: what became of it.
    """
    attempt = Attempt(
        number=spec.attempt.number + 1,
        reason=outcome.failure,
        kept=outcome.kept,
        time_limit_s=spec.attempt.time_limit_s,
        ran_s=spec.attempt.ran_s + outcome.ran_s,
    )
    return checked(replace(spec, attempt=attempt))


def delay_s(spec: RunSpec) -> float:
    """Seconds until the attempt after this one; 0.0 without ``retry``."""
    if spec.retry is None:
        return 0.0
    # The exponent is bounded too: a float would overflow after a thousand attempts.
    return float(min(MAX_DELAY_S, spec.retry.delay * 2.0 ** min(spec.attempt.number - 1, 30)))


def outcome_of(outcome: RunOutcome) -> AttemptOutcome:
    """What a runner says of an attempt, for whoever is attached."""
    return AttemptOutcome(outcome.end, outcome.failure, outcome.ran_s)
