"""``koco run``: pauses, resumes and ends a run from the command line, in any execution mode, without a panel."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from enum import StrEnum

from ..config import Settings
from ..error import ConfigurationError, ExecutionClosed
from ..events import is_fid
from ..execution import ExecutionMode, connect_mode


class Action(StrEnum):
    """What can be done to a run; the values are the names of the commands."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


DONE: Mapping[Action, str] = {
    Action.PAUSE: "Execution {fid} is paused; `koco run resume {fid}` lets it go on.",
    Action.RESUME: "Execution {fid} goes on.",
    Action.CANCEL: "Execution {fid} has been ended.",
}


async def steer(settings: Settings, action: Action, fid: str) -> str:
    """Does it, in the name of the operating system's user, and gives a line that says so.

    Raises:
        ConfigurationError: ``fid`` is no execution id, or the mode can't be used.
        LaunchUnavailable: the cluster can't answer, with the reason.
        ExecutionClosed: no such run lives there; says what to look at.
    """
    if not is_fid(fid):
        raise ConfigurationError(f"{fid[:40]!r} is not an execution id: 24 hexadecimal digits, as a launch answers.")
    mode = connect_mode(settings)
    try:
        if not await _call(mode, action, fid, current_user()):
            raise ExecutionClosed(
                f"Execution {fid} does not run: it is over, or KODO_EXECUTION_MODE={mode.name} and its settings lead "
                "elsewhere than where it was launched."
            )
    finally:
        await mode.close()
    return DONE[action].format(fid=fid)


def current_user() -> str:
    """Name of who runs this process; its number where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


async def _call(mode: ExecutionMode, action: Action, fid: str, by: str) -> bool:
    match action:
        case Action.PAUSE:
            return await mode.pause(fid, by)
        case Action.RESUME:
            return await mode.resume(fid, by)
        case Action.CANCEL:
            return await mode.cancel(fid, by)
