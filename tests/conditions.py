"""Waiting for a condition, with a deadline: what tests use instead of sleeping; and a condition that many wait for."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psutil

Value = TypeVar("Value")

DEADLINE_S = 60.0
PAUSE_S = 0.02


async def until(
    read: Callable[[], Awaitable[Value] | Value],
    holds: Callable[[Value], object] = bool,
    deadline_s: float = DEADLINE_S,
) -> Value:
    """The first value read for which the condition holds; errors while reading count as "not yet".

    Raises:
        AssertionError: it didn't hold in time; names the last value or error.
    """
    end = time.monotonic() + deadline_s
    last: object = None
    while time.monotonic() < end:
        try:
            value = read()
            value = await value if inspect.isawaitable(value) else value
            if holds(value):
                return value
            last = value
        except Exception as exc:
            last = exc
        await asyncio.sleep(PAUSE_S)
    raise AssertionError(f"not within {deadline_s} s; last: {last!r}")


def lives(process: psutil.Process | int) -> bool:
    """Whether a process, or that of an id, is there and not a zombie."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
