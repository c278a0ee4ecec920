"""What Ray tells all who have joined a cluster, as records of our log.

Ray itself would print it, coloured and on standard output, into whatever a process says there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

USUAL = ("worker processes have been started on node",)
"""Parts of messages about what's meant to be: our actors ask for no CPU, so there are more of them than CPUs."""


def log_messages() -> None:
    """Has the messages logged from now on, instead of printed; may be called again."""
    from ray._private import worker

    worker.print_to_stdstream = log_message


def log_message(message: Mapping[str, Any], *_: object, **__: object) -> None:
    """Logs one of them: a warning, but for what is usual.

    Args:
        message: with ``lines`` and ``pid``, who says it.
    """
    text = " ".join(" ".join(message["lines"]).split())
    level = logging.DEBUG if any(part in text for part in USUAL) else logging.WARNING
    logger.log(level, "Ray (%s): %s", message["pid"], text)
