"""Which of a run's exceptions are worth another call of its code, as its author's ``Retry`` says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

from ..error import BadEntryPoint
from .spec import Attempt, Retry

_NEVER = (asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit, BadEntryPoint)
_INPUTS_ERROR = "kodosumi.forms.errors.InputsError"  # by name: a runner needn't import forms for it


def portable(retry: Retry) -> Retry:
    """A copy that travels light: classes become their names, ``module.qualified_name``.

    Raises:
        TypeError, ValueError: it says nothing usable; the text names what.
    """
    if not isinstance(retry, Retry):
        raise TypeError(f"retry={retry!r}: give a kodosumi.core.Retry")
    attempts, delay = retry.max_attempts, retry.delay
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise ValueError(f"Retry(max_attempts={attempts!r}): give a number of calls, 1 or more")
    if not isinstance(delay, int | float) or not (math.isfinite(delay) and delay >= 0):
        raise ValueError(f"Retry(delay={delay!r}): give a number of seconds, 0 or more")
    return replace(retry, on=tuple(_name(one) for one in _each(retry.on)), delay=float(delay))


def worth_another(exc: BaseException, retry: Retry | None, attempt: Attempt) -> bool:
    """Whether user code is called again after it raised ``exc`` in this attempt.

    Args:
        exc: what it raised. retry: as :func:`portable` gave it; None: never. attempt: of the run.
    """
    if retry is None or attempt.last or retry.max_attempts < 2 or isinstance(exc, _NEVER):
        return False
    names = {name for cls in type(exc).__mro__ for name in (_qualified(cls), cls.__qualname__)}
    if _INPUTS_ERROR in names:
        return False
    return any(_name(one) in names for one in retry.on) if retry.on else isinstance(exc, Exception)


def _each(on: object) -> Sequence[object]:
    # One alone, without the list around it, is what anybody would understand.
    return (on,) if isinstance(on, str | type) else tuple(on)  # type: ignore[arg-type]


def _name(one: object) -> str:
    if isinstance(one, str) and one.strip():
        return one.strip()
    if isinstance(one, type) and issubclass(one, BaseException):
        return _qualified(one)
    raise TypeError(f"Retry(on=[{one!r}]): give exception classes or their names")


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
