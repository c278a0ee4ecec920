"""Slows down whoever guesses passwords: failed logins per address and name, and per address, in memory."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Hashable

from .errors import ApiError

WINDOW_S = 300.0
TRIES_PER_NAME = 10
TRIES_PER_ADDRESS = 100
MAX_KEYS = 10_000


class LoginGuard:
    """Counts tries; a try counts when it begins, so that many at once don't slip through.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[Hashable, deque[float]] = {}

    def begin(self, address: str, name: str) -> None:
        """Counts a try.

        Raises:
            ApiError: 429 with ``Retry-After`` (seconds): too many tries by this address.
        """
        now = self._clock()
        for key, limit in self._limits(address, name):
            tries = self._recent(key, now)
            if len(tries) >= limit:
                wait_s = math.ceil(tries[0] + WINDOW_S - now) or 1
                raise ApiError(429, f"Too many logins failed. Try again in {wait_s} s.", {"Retry-After": str(wait_s)})
        for key, _limit in self._limits(address, name):
            self._tries.setdefault(key, deque()).append(now)
        self._forget_oldest()

    def succeeded(self, address: str, name: str) -> None:
        """The try was right: what failed before under this name no longer counts."""
        self._tries.pop((address, name), None)
        tries = self._tries.get(address)
        if tries:
            tries.pop()

    @staticmethod
    def _limits(address: str, name: str) -> tuple[tuple[Hashable, int], ...]:
        return ((address, name), TRIES_PER_NAME), (address, TRIES_PER_ADDRESS)

    def _recent(self, key: Hashable, now: float) -> deque[float]:
        tries = self._tries.get(key, deque())
        while tries and tries[0] <= now - WINDOW_S:
            tries.popleft()
        return tries

    def _forget_oldest(self) -> None:
        # Bounded memory: a guesser who makes up names can't grow it. Dicts keep the order of first insertion.
        while len(self._tries) > MAX_KEYS:
            del self._tries[next(iter(self._tries))]
