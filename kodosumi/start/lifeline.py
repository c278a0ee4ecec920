"""What ties a child process to `koco start`: a socket as its standard input, one line a word, both ways.

When the other end is gone, however it went, the child ends itself; no process is left behind a killed parent.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping

READY = "ready"
CANCEL_RUNS = "cancel runs"
CANCELLED = "cancelled"

GRACE_S = 10.0
"""Seconds an orphan has to drain before its whole process group is killed."""


class Lifeline:
    """The child's end. Takes over standard input, so that nothing else reads from it.

    Args:
        words: what to do when the parent says a word; called on the lifeline's own thread.
    """

    def __init__(self, words: Mapping[str, Callable[[], None]] | None = None) -> None:
        self._words = dict(words or {})
        self._socket = socket.socket(fileno=os.dup(0))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        threading.Thread(target=self._listen, name="kodosumi-lifeline", daemon=True).start()

    def on(self, word: str, action: Callable[[], None]) -> None:
        """Sets what to do when the parent says a word."""
        self._words[word] = action

    def say(self, word: str) -> None:
        """Tells the parent a word; a parent that is gone is no error here, the listener sees to that."""
        try:
            self._socket.sendall(f"{word}\n".encode())
        except OSError:
            pass

    def _listen(self) -> None:
        try:
            with self._socket.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    self._words.get(line.strip(), _nothing)()
        except OSError:
            pass
        _end_as_orphan()


def _nothing() -> None:
    """An unknown word asks for nothing."""


def _end_as_orphan() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)
