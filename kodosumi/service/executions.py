"""Which executions a user may see and steer, and how long the panel waits for one that was just accepted.

Every route that takes an execution id goes through here, so that "unknown" and "not yours" cannot be told apart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from ..error import ExecutionNotFound, KodosumiError
from ..events import is_fid
from ..execution import ExecutionMode
from ..store import Execution
from .auth import User
from .context import Panel
from .errors import ApiError

logger = logging.getLogger(__name__)

GRACE_S = 1.0
"""Seconds an execution may take from its acceptance to the store before a reader is told that there is none."""

ENDED_GRACE_S = 10.0
"""The same for who asks with ``extended=true``: a run that ended at once is known to nobody but a busy spooler."""

_MODE_TIMEOUT_S = 2.0
_RECENT_S = 60.0


def not_found(fid: str) -> ApiError:
    """The one answer for an execution that is unknown, somebody else's or deleted."""
    return ApiError(404, f"Execution {fid} not found.")


def may_see(user: User, execution: Execution) -> bool:
    """Whether an execution is the user's business: their own, or any for an operator."""
    return user.operator or execution.username == user.id


async def visible_execution(panel: Panel, user: User, fid: str, *, extended: bool = False) -> Execution:
    """An execution that the user may see.

    Args:
        panel: the panel.
        user: who asks.
        fid: which one.
        extended: wait up to ``KODO_WAIT_FOR_JOB`` seconds for one that is known to be starting, and ten for one that
            may have been accepted just now, instead of one second.

    Raises:
        ApiError: 404, unknown or not for this user.
    """
    if not is_fid(fid):
        raise not_found(fid)
    try:
        execution = await panel.hub.execution(fid, await _patience(panel, fid, extended))
    except ExecutionNotFound:
        raise not_found(fid) from None
    if execution.archived or not may_see(user, execution):
        raise not_found(fid)
    return execution


def is_recent(fid: str) -> bool:
    """Whether an id was made so lately that its first events may still be on their way to the store."""
    return abs(time.time() - int(fid[:8], 16)) < _RECENT_S


async def queue_position(mode: ExecutionMode, fid: str) -> int | None:
    """Place of a run that waits its turn (1 is next), or None."""
    places: Mapping[str, int] = await _asked(mode.places(), {})
    return places.get(fid)


async def _patience(panel: Panel, fid: str, extended: bool) -> float:
    """Seconds to wait for an execution that isn't stored."""
    if not extended:
        return GRACE_S
    try:
        await panel.store.execution(fid)
    except ExecutionNotFound:
        if fid in await _asked(panel.mode.known([fid]), frozenset()):
            return panel.settings.wait_for_job
    # a run that ended at once is known to nobody while its events are on their way; an old id can't be that
    return ENDED_GRACE_S if is_recent(fid) else 0.0


async def _asked(answer: Any, otherwise: Any) -> Any:
    """What the execution mode says, or ``otherwise`` when it doesn't in time."""
    try:
        async with asyncio.timeout(_MODE_TIMEOUT_S):
            return await answer
    except (KodosumiError, TimeoutError) as exc:
        logger.info("the execution mode did not answer: %r", exc)
        return otherwise
