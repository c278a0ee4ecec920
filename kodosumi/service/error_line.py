"""Why a run failed, in the words of its exception: the last lines of a Python traceback."""

from __future__ import annotations

import re

_HEADER = "Traceback (most recent call last):"
_QUALIFIED_NAME = re.compile(r"^(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
_GROUP_LINE = re.compile(r"^\s+\| (?P<line>[^\s|+].*)$", re.MULTILINE)
_LEFT_OUT = re.compile(r"… .* left out …$")
"""What the runner writes in the middle of a text that is too long."""


def error_line(traceback: str) -> str:
    """``Type: message`` of a Python traceback; a text that is none is its own message.

    Of chained exceptions it is the last, as Python prints it; a message of several lines is kept whole.
    """
    _, header, rest = traceback.rpartition(_HEADER)
    if not header:
        return traceback.strip()
    if (group := _GROUP_LINE.search(rest)) and not rest.lstrip("\r\n").startswith("  File"):
        return _unqualified(group["line"].strip())
    lines = rest.lstrip("\r\n").split("\n")
    for index, line in enumerate(lines):
        if line and not line[0].isspace() and not _LEFT_OUT.match(line):
            return _unqualified("\n".join(lines[index:]).strip())
    return rest.strip()


def _unqualified(text: str) -> str:
    """Without the module before the exception's name, which says nothing to a user."""
    return _QUALIFIED_NAME.sub("", text, count=1)
