"""``/outputs/{fid}/pause``, ``/resume`` and ``/cancel``: what a user does to a run that lives.

The execution mode does it; the answer is given when the store shows it, so that whoever reads next sees it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from ..error import ExecutionNotFound, LaunchUnavailable
from ..events import ExecutionState
from ..store import Execution
from .auth import CurrentUser, User
from .context import Panel, PanelContext
from .errors import ApiError
from .executions import not_found, visible_execution

END_WAIT_S = 20.0
"""Seconds until a cancelled run's end must be stored: five for the user's code to clean up, the rest for the way."""

SHOWN_WAIT_S = 5.0
"""Seconds the answer to a pause or resume waits for the store; what is in the transport then is true all the same."""

MAX_BODY_BYTES = 1_024

_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"description": "Unknown, or not yours."},
    409: {"description": "It is over."},
    503: {"description": "The cluster cannot answer now; nothing was done, or its end is not stored yet: try again."},
}

router = APIRouter(prefix="/outputs", tags=["Outputs"], max_body_size=MAX_BODY_BYTES, responses=_RESPONSES)


class Steered(BaseModel):
    """What became of the run.

    Attributes:
        fid: the execution. status: as the status object says it.
    """

    fid: str
    status: ExecutionState


@router.post("/{fid}/pause", summary="Pause an execution")
async def pause(fid: str, user: CurrentUser, panel: PanelContext) -> Steered:
    """Its code waits at its next tracer call until it is resumed; one that is paused stays so."""
    await _steer(panel, user, fid, "pause", panel.mode.pause)
    return await _shown(panel, fid, ExecutionState.PAUSED, lambda each: each.state == ExecutionState.PAUSED)


@router.post("/{fid}/resume", summary="Resume a paused execution")
async def resume(fid: str, user: CurrentUser, panel: PanelContext) -> Steered:
    """It goes on where it waits; one that isn't paused is left as it is."""
    await _steer(panel, user, fid, "resume", panel.mode.resume)
    return await _shown(panel, fid, ExecutionState.RUNNING, lambda each: each.state != ExecutionState.PAUSED)


@router.post("/{fid}/cancel", summary="End an execution")
async def cancel(fid: str, user: CurrentUser, panel: PanelContext) -> Steered:
    """Its code gets five seconds to clean up; what it told so far is kept."""
    await _steer(panel, user, fid, "end", panel.mode.cancel)
    ended = await _stored_end(panel, fid)
    return Steered(fid=fid, status=ended.state)


async def end_run(panel: Panel, user: User, fid: str) -> None:
    """Cancels a run, whether it still lives or not, and returns when its end is stored.

    Raises:
        ApiError: 503 when it cannot be reached, or its end isn't stored in time.
    """
    await _asked(fid, "end", panel.mode.cancel(fid, user.name))
    await _stored_end(panel, fid)


async def _stored_end(panel: Panel, fid: str) -> Execution:
    """An execution that was told to end, once its end is stored.

    Raises:
        ApiError: 503, it isn't in time.
    """
    try:
        return await panel.hub.execution(fid, END_WAIT_S, lambda execution: execution.state.terminal)
    except (TimeoutError, ExecutionNotFound) as exc:
        raise ApiError(503, f"Execution {fid} has been told to end, but its end is not stored yet; try again.") from exc


async def _steer(panel: Panel, user: User, fid: str, what: str, call: Callable[[str, str], Awaitable[bool]]) -> None:
    """Asks the mode for what the user wants of a living run.

    Raises:
        ApiError: 404 unknown or not the user's, 409 over, 503 out of reach.
    """
    execution = await visible_execution(panel, user, fid)
    if execution.state.terminal:
        raise _over(execution)
    if not await _asked(fid, what, call(fid, user.name)):
        raise await _gone(panel, fid)


async def _asked(fid: str, what: str, answer: Awaitable[bool]) -> bool:
    try:
        return await answer
    except LaunchUnavailable as exc:
        raise ApiError(503, f"Execution {fid} cannot be reached now to {what} it: {exc}") from exc


async def _gone(panel: Panel, fid: str) -> ApiError:
    """Why a run that the store calls living is none for the mode: its end is on its way into the store."""
    try:
        return _over(await panel.hub.execution(fid, SHOWN_WAIT_S, lambda execution: execution.state.terminal))
    except (TimeoutError, ExecutionNotFound):
        return ApiError(409, f"Execution {fid} does not run any more; its end is not stored yet.")


async def _shown(panel: Panel, fid: str, state: ExecutionState, reached: Callable[[Execution], bool]) -> Steered:
    """The answer when the store shows what was done, or ``state`` when it doesn't in time."""
    try:
        execution = await panel.hub.execution(
            fid, SHOWN_WAIT_S, lambda execution: execution.state.terminal or reached(execution)
        )
    except TimeoutError:
        return Steered(fid=fid, status=state)
    except ExecutionNotFound:
        raise not_found(fid) from None
    return Steered(fid=fid, status=execution.shown_state)


def _over(execution: Execution) -> ApiError:
    ended = "has finished" if execution.state == ExecutionState.FINISHED else "has ended with an error"
    return ApiError(409, f"Execution {execution.fid} is over: it {ended}.")
