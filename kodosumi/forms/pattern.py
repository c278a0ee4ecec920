"""``pattern`` on the server: what HTML means by it, without a value that could keep the server busy.

The engine is Rust's ``regex`` (through pydantic): its time grows only linearly with the text. It has no lookaround and
no backreferences; patterns with those run on Python's ``re`` where a bound on the text's length keeps that fast.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

logger = logging.getLogger(__name__)

MAX_PATTERN_CHARS = 5_000
"""Longest pattern that is enforced: compiling takes time and memory too."""

MAX_CHARS = 100_000
"""Longest text that is compared with a pattern at all."""

MAX_TRIES = 1_000_000
"""How many ways of matching Python's engine may have to try."""

_ASCII_CLASSES = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[A-Za-z0-9_]",
    "W": "[^A-Za-z0-9_]",
}
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPEAT = re.compile(r"[*+{]")
_ASSERTION = re.compile(r"\(\?<?[=!]")

Matcher = Callable[[str], bool]


def pattern_problem(pattern: object, text: str) -> str | None:
    """A message when the whole text doesn't match a pattern (None or empty: no pattern)."""
    if not pattern:
        return None
    matcher, longest = _compiled(str(pattern))
    if matcher is None:
        return None
    if len(text) > longest:
        return f"Please enter at most {longest} characters."
    return None if matcher(text) else f"Please match the requested format: {pattern}"


def check_declared(pattern: object) -> None:
    """Warns an author in the log, once, about a pattern that browsers or the server can't hold."""
    if pattern:
        _compiled(str(pattern))


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> tuple[Matcher | None, int]:
    """What decides on a text, and how long it may be. None: the pattern isn't enforced, as the log says."""
    if len(pattern) > MAX_PATTERN_CHARS:
        logger.warning("pattern %.50r… is too long and is not enforced: use at most %s", pattern, MAX_PATTERN_CHARS)
        return None, MAX_CHARS
    matcher = _linear(pattern)
    if matcher is not None:
        return matcher, MAX_CHARS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expression = re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern), re.ASCII)
    except (re.error, RecursionError, OverflowError) as exc:
        logger.warning("pattern %r isn't a regular expression (%s) and is not enforced: correct it", pattern, exc)
        return None, MAX_CHARS
    if _REPEATED_GROUP.search(pattern):
        logger.warning(
            "pattern %r is not enforced: with lookaround or backreferences, a repeated group can take forever; "
            "repeat single characters or classes instead",
            pattern,
        )
        return None, MAX_CHARS
    return lambda text: expression.fullmatch(text) is not None, _longest(pattern)


def _linear(pattern: str) -> Matcher | None:
    """A matcher of Rust's engine, or None when it doesn't take the pattern."""
    ascii_only = re.sub(r"\\(.)", lambda match: _ASCII_CLASSES.get(match[1], match[0]), pattern, flags=re.DOTALL)
    try:
        adapter = TypeAdapter(Annotated[str, StringConstraints(pattern=rf"\A(?:{ascii_only})\z")])
    except (SchemaError, RecursionError, UnicodeEncodeError):
        return None

    def matches(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    return matches


def _longest(pattern: str) -> int:
    """Characters up to which Python's engine stays within MAX_TRIES: each repeat multiplies its ways by the length."""
    repeats = max(len(_REPEAT.findall(part)) for part in _ASSERTION.split(pattern))
    return min(MAX_CHARS, int(MAX_TRIES ** (1 / max(1, repeats))))
