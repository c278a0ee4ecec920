"""What the children of `koco start` do: ``python -m kodosumi.start.roles ROLE``.

Roles: ``panel``, ``spooler``, ``temporal-worker``, ``apps MODULE:NAME …``.

Settings come from the environment. Not for the command line: the standard input must be a lifeline.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..config import load_settings
from ..error import KodosumiError
from ..log import last_words, setup_last_resort
from .leaving import leave
from .lifeline import READY, Lifeline

UNUSABLE = 2
"""Exit code of a child that a setting or argument stops: starting it again would change nothing."""


def main(arguments: Sequence[str]) -> int:
    """Runs the role that the first argument names until it's asked to end."""
    role, *rest = arguments
    lifeline = Lifeline()
    try:
        settings = load_settings()
        # Until the role sets up its own.
        setup_last_resort(settings.log_format, role)
        if role == "panel":
            from ..service.server import run

            run(settings)
        elif role == "spooler":
            from .spooling import spool_here

            spool_here(settings, lifeline)
        elif role == "temporal-worker":
            from ..temporal_worker import work_here

            work_here(settings, lambda: lifeline.say(READY))
        else:
            from .apps import serve_apps

            serve_apps(settings, rest, lambda: lifeline.say(READY))
    except KeyboardInterrupt:
        return 0
    except KodosumiError as exc:
        last_words(str(exc))
        return UNUSABLE
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
