"""Ending a process in which threads of a library may still be about to leave the interpreter, and without waiting."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

LINGERING = frozenset({"ray", "temporalio"})
"""Libraries that are costly or dangerous to take down."""


def leave(code: int) -> NoReturn:
    """Ends this process; to be called last, on the main thread.

    Temporal's client answers from threads of its own. One that is late finds an interpreter that is being taken down,
    and Python aborts the process for that: exit code 134 instead of 0 or 1. Ray's threads and objects take a second
    to be taken down one by one. So nothing is then, once all that was to be done at the end has been done.
    """
    if LINGERING.isdisjoint(sys.modules):
        sys.exit(code)
    atexit._run_exitfuncs()
    leave_at_once(code)


def leave_at_once(code: int) -> NoReturn:
    """Ends this process whatever its threads are at; to be called when one of them may hang."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
