"""What fails again and again, in as few lines as tell all of it."""

from __future__ import annotations

import logging


class Troubles:
    """What fails again and again, logged when it begins, when its reason changes and when it's over.

    Args:
        logger: gets a line for each change, whatever the number of tries between.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._reasons: dict[str, str] = {}

    def begin(self, what: str, reason: object) -> None:
        """A try failed.

        Args:
            what: the whole of it, as a sentence without its end (``the store cannot be written``).
            reason: why, shown behind it.
        """
        if self._reasons.get(what) != str(reason):
            self._reasons[what] = str(reason)
            self._logger.warning("%s, trying again: %s", what, reason)

    def end(self, what: str) -> None:
        """A try went well."""
        if self._reasons.pop(what, None) is not None:
            self._logger.warning("over: %s", what)
