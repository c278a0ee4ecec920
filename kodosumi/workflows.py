"""The workflow of a durable run: it decides on attempts, and outlives every process that works on them.

It runs in `koco temporal-worker`, is played again from its history after each loss, and imports next to nothing.
What it keeps there are ids, numbers and short reasons: never inputs, events, texts of errors or tokens.

**Changing it.** Histories of running workflows must fit the new code. So whatever changes the order or the number of
commands (activities, timers) goes behind a patch::

    if workflow.patched("2.1-why"):
        new way
    else:
        old way

Names of patches begin with the version that brings them. The old way stays for as long as a run of the older version
may live; then ``workflow.deprecate_patch`` takes the place of the ``if``, and goes a version later. Fields are only
added to the dataclasses below, with defaults. Every released version leaves histories in ``tests/histories``, which
are replayed with the present code.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

WORKFLOW = "AgentWorkflow"
EXECUTE, BEGIN, END, STEER, SETTLE = "execute_agent", "begin_attempt", "end_agent", "steer_agent", "settle_launch"
"""Types of the activities, see ``activities.py``."""

FID, USER, FLOW = "KodoFid", "KodoUser", "KodoFlow"
"""Search attributes of every workflow, all of type Keyword."""

BY_TEMPORAL = "temporal"
"""Who cancelled a run whose workflow was cancelled, or steered it there without a name."""

ACCEPTED_WITHIN = timedelta(seconds=60)
HEARTBEAT_TIMEOUT = timedelta(seconds=12)
HELD = timedelta(days=3650)
"""An attempt takes as long as it takes; its running time is limited in the run's own process."""

SHORT_WORK = timedelta(seconds=60)
TOLD_PATIENCE = timedelta(seconds=15)
"""Who signals what it tells the run itself, is given so long before the workflow tells it too."""

MAX_LOST = 3
"""Attempts that may be lost to infrastructure; with the last of them the run ends."""

MAX_DELAY_S = 60.0
MAX_SUMMARY = 90
"""Temporal refuses more than 400 bytes, and with them the workflow's whole step."""

AGAIN = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.5, maximum_interval=timedelta(seconds=2)
)
"""For trouble of a worker's own, such as its death: however often that happens, the run is soon looked after again."""


@dataclass(frozen=True)
class LaunchInput:
    """What a workflow is started with.

    Attributes:
        fid: of the execution. username: role id of its owner. flow: name of what runs.
        max_attempts: calls of user code that raises, the first included. retry_delay_s: before the second.
        limit_s: running time in all.
    """

    fid: str
    username: str
    flow: str = ""
    max_attempts: int = 1
    retry_delay_s: float = 1.0
    limit_s: float = 3600.0


@dataclass(frozen=True)
class AttemptRef:
    """Which attempt an activity is about.

    Attributes:
        fid, username: of the execution. number: 1, 2, ….
        reason: why the one before ended. paused_by: who had the run paused, if anybody.
        ran_s: running time of the ones before. limit_s: of all. last: whether an exception ends the run.
    """

    fid: str
    username: str
    number: int = 1
    reason: str = ""
    paused_by: str | None = None
    ran_s: float = 0.0
    limit_s: float = 3600.0
    last: bool = True


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended.

    Attributes:
        end: ``over``, ``raised``, ``died`` or ``closed``, as :class:`kodosumi.runner.spec.AttemptEnd` has them;
            ``begun`` once its event is stored; ``unbegun`` when its worker left it before the pool was asked.
        state: the execution's terminal state, as far as the store shows it; else "".
        reason: in a few words. ran_s: running time.
    """

    end: str
    state: str = ""
    reason: str = ""
    ran_s: float = 0.0


@dataclass(frozen=True)
class Steering:
    """What a run is to be told.

    Attributes:
        fid, username: of the execution. action: ``pause``, ``resume``, ``cancel``, or the reason of its end.
        by: in whose name.
    """

    fid: str
    username: str
    action: str
    by: str = ""


@dataclass(frozen=True)
class RunStatus:
    """What the query ``status`` answers.

    Attributes:
        state: ``accepting``, ``running``, ``paused``, ``waiting`` (for the next attempt) or ``ended``.
        attempt: number of the newest one, 0 before the first.
        paused_by, cancelled_by: who asked for it, if anybody.
    """

    state: str
    attempt: int
    paused_by: str | None
    cancelled_by: str | None


def time_limit_notice(limit_s: float) -> str:
    """What the ``error`` event of a run says that took too long."""
    return (
        f"TimeLimitExceeded: the run took longer than {limit_s:g} s of running time (KODO_TEMPORAL_EXECUTION_TIMEOUT)"
    )


@workflow.defn(name=WORKFLOW)
class AgentWorkflow:
    """One durable run, from its launch to its end."""

    def __init__(self) -> None:
        self._accepted = False
        self._phase = "accepting"
        self._number = 0
        self._paused_by: str | None = None
        self._cancelled_by: str | None = None
        self._wish: tuple[str, str] | None = None
        self._wish_told = self._telling = False
        self._wishes = self._heard = 0

    @workflow.run
    async def run(self, launch: LaunchInput) -> str:
        """Sees to it that the run ends; returns its terminal state, as far as that is known.

        Raises:
            ApplicationError: the run failed, or was never accepted.
        """
        life = asyncio.create_task(self._live(launch))
        steering = asyncio.create_task(self._steer(launch))
        cancelled = False
        while True:
            try:
                state = await asyncio.shield(life)
                break
            except asyncio.CancelledError:
                if cancelled or workflow.cancellation_reason() is None:
                    # The worker's cache has no room for it any more.
                    raise
                # Asked for in Temporal: the run is to end, not this code.
                cancelled = True
                self._cancel(BY_TEMPORAL)
        self._phase = "ended"
        # An activity that ends after its workflow is an error in its worker's log.
        await workflow.wait_condition(lambda: not self._telling)
        steering.cancel()
        await asyncio.gather(steering, return_exceptions=True)
        if cancelled:
            raise asyncio.CancelledError
        if state == "error":
            raise ApplicationError(self._failure(), type="RunFailed", non_retryable=True)
        return state

    # asked from outside ----------------------------------------------------------------------------------------------

    @workflow.signal
    def accepted(self) -> None:
        """The launch is accepted: the run's first events are in the transport."""
        self._accepted = True

    @workflow.signal
    def pause(self, by: str = BY_TEMPORAL, told: bool = False) -> None:
        """Has the run, and its further attempts, wait. ``told``: who signals tells the run itself, too."""
        if self._cancelled_by is None and self._paused_by is None:
            self._paused_by = by
            self._wish_for("pause", by, told)

    @workflow.signal
    def resume(self, by: str = BY_TEMPORAL, told: bool = False) -> None:
        """Lets a paused run go on."""
        if self._cancelled_by is None and self._paused_by is not None:
            self._paused_by = None
            self._wish_for("resume", by, told)

    @workflow.signal
    def cancel(self, by: str = BY_TEMPORAL, told: bool = False) -> None:
        """Ends the run; there is no further attempt."""
        self._cancel(by, told)

    @workflow.query
    def status(self) -> RunStatus:
        """Where the run stands, as far as attempts go; what it does is in its events."""
        paused = self._paused_by is not None and self._phase in ("running", "waiting")
        return RunStatus("paused" if paused else self._phase, self._number, self._paused_by, self._cancelled_by)

    # attempts --------------------------------------------------------------------------------------------------------

    async def _live(self, launch: LaunchInput) -> str:
        if not await self._is_accepted(launch):
            raise ApplicationError("The launch was never accepted.", type="NeverAccepted", non_retryable=True)
        raised = lost = 0
        ran_s = 0.0
        reason = ""
        while self._cancelled_by is None:
            self._number += 1
            result = await self._attempt(
                AttemptRef(
                    launch.fid,
                    launch.username,
                    self._number,
                    reason,
                    self._paused_by,
                    ran_s,
                    launch.limit_s,
                    last=self._number >= launch.max_attempts,
                )
            )
            if result.end in ("over", "closed"):
                return result.state
            ran_s += result.ran_s
            reason = result.reason
            if ran_s >= launch.limit_s:
                return await self._end(launch, time_limit_notice(launch.limit_s))
            if result.end == "raised":
                raised += 1
                delay_s = min(launch.retry_delay_s * 2 ** (raised - 1), MAX_DELAY_S)
            else:
                lost += 1
                if lost >= MAX_LOST:
                    return await self._end(launch, f"{reason} Attempt {self._number} was the last.".strip())
                delay_s = float(lost)
            await self._wait(delay_s)
        return await self._end(launch, f"killed by {self._cancelled_by}")

    async def _is_accepted(self, launch: LaunchInput) -> bool:
        """Waits for the word of whoever launches; when it doesn't come, the store says whether the run exists."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._accepted or self._cancelled_by is not None,
                timeout=ACCEPTED_WITHIN,
                timeout_summary="accepted in time?",
            )
        if self._accepted:
            return True
        known: bool = await workflow.execute_activity(
            SETTLE,
            Steering(launch.fid, launch.username, "settle"),
            result_type=bool,
            start_to_close_timeout=SHORT_WORK,
            retry_policy=AGAIN,
            summary="was it accepted?",
        )
        return known or self._accepted

    async def _attempt(self, attempt: AttemptRef) -> AttemptResult:
        self._show("running")
        if attempt.number > 1:
            begun = await self._call(BEGIN, attempt, f"attempt {attempt.number} begins")
            if begun.end == "closed":
                return begun
        while True:
            # It may have been paused meanwhile, or not be paused any more.
            attempt = replace(attempt, paused_by=self._paused_by)
            result = await self._call(EXECUTE, attempt, f"attempt {attempt.number}")
            if result.end != "unbegun":
                return result

    async def _call(self, activity: str, attempt: AttemptRef, summary: str) -> AttemptResult:
        result: AttemptResult = await workflow.execute_activity(
            activity,
            attempt,
            result_type=AttemptResult,
            start_to_close_timeout=HELD,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=AGAIN,
            summary=summary,
        )
        return result

    async def _wait(self, delay_s: float) -> None:
        self._show("waiting")
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._cancelled_by is not None, timeout=delay_s, timeout_summary="until the next attempt"
            )

    async def _end(self, launch: LaunchInput, reason: str) -> str:
        state: str = await workflow.execute_activity(
            END,
            Steering(launch.fid, launch.username, reason),
            result_type=str,
            start_to_close_timeout=HELD,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=AGAIN,
            summary="end",
        )
        return state

    def _failure(self) -> str:
        if self._cancelled_by:
            return f"The run was cancelled by {self._cancelled_by}."
        return f"The run failed in attempt {self._number}." if self._number > 1 else "The run failed."

    def _show(self, phase: str) -> None:
        self._phase = phase
        workflow.set_current_details(f"{phase}, attempt {self._number}" if self._number else phase)

    # steering --------------------------------------------------------------------------------------------------------

    def _cancel(self, by: str, told: bool = False) -> None:
        if self._cancelled_by is None:
            self._cancelled_by = by
            self._wish_for("cancel", by, told)

    def _wish_for(self, action: str, by: str, told: bool) -> None:
        self._wish, self._wish_told = (action, by), told
        self._wishes += 1

    async def _steer(self, launch: LaunchInput) -> None:
        """Tells the run what was wished for, the newest wish only. A run between attempts learns it with the next."""
        while True:
            await workflow.wait_condition(lambda: self._wishes > self._heard)
            self._heard = self._wishes
            if self._wish_told and not await self._is_pressing():
                continue
            if self._wish is None or self._phase != "running":
                continue
            action, by = self._wish
            self._telling = True
            await workflow.execute_activity(
                STEER,
                Steering(launch.fid, launch.username, action, by),
                start_to_close_timeout=SHORT_WORK,
                retry_policy=AGAIN,
                summary=f"{action} by {by}"[:MAX_SUMMARY],
            )
            self._telling = False

    async def _is_pressing(self) -> bool:
        """Whether a wish is still the newest after the time its sender has to tell the run itself."""
        try:
            await workflow.wait_condition(
                lambda: self._wishes > self._heard, timeout=TOLD_PATIENCE, timeout_summary="told by its sender?"
            )
        except TimeoutError:
            return True
        return False
