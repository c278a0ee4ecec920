"""Calling an author's handler: with what it asks for by name, and never in the way of other requests."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool


def check_parameters(function: Callable[..., Any], offered: tuple[str, ...]) -> None:
    """Tells an author about a handler that could never be called.

    Args:
        function: the handler. offered: names of the parameters that it can have.

    Raises:
        TypeError: a parameter without a default that nothing is given for.
    """
    left = [p.name for p in _parameters(function) if p.name not in offered and _needed(p)]
    if left:
        raise TypeError(
            f"{getattr(function, '__qualname__', function)} needs {', '.join(left)}, but a handler is only given "
            f"{' and '.join(offered)}: give the others a default"
        )


async def call(function: Callable[..., Any], **offered: Any) -> Any:
    """What a handler returns. Coroutine functions run on the loop, plain ones in a thread.

    Args:
        function: the handler. offered: each is passed if the handler has a parameter of exactly this name.
    """
    parameters = [p for p in _parameters(function) if p.name in offered]
    positional = [offered[p.name] for p in parameters if p.kind is p.POSITIONAL_ONLY]
    named = {p.name: offered[p.name] for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    bound = functools.partial(function, *positional, **named)
    if _is_coroutine_function(function):
        return await bound()
    returned = await run_in_threadpool(bound)
    # A decorator may have hidden that it is a coroutine function.
    return await returned if inspect.isawaitable(returned) else returned


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        return []  # some builtins have no signature


def _needed(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not variadic


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
