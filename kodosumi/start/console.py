"""What `koco start` tells its user: plain lines, the same on a terminal and in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def _write(text: str) -> None:
    # Whoever read may be gone: what was started must end in order all the same.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text)
        sys.stdout.flush()


def say(text: str) -> None:
    """Writes one line."""
    _write(f"{text}\n")


@contextmanager
def step(text: str) -> Iterator[None]:
    """Writes ``text …`` when something begins and the seconds it took when it is done."""
    began = time.monotonic()
    _write(f"{text} … ")
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - began:.1f} s")
