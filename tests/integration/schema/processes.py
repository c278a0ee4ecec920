"""``koco`` and other Python as a process of its own, whose output is read line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

KOCO = ("-m", "kodosumi.cli")


class Process:
    """A started process.

    Attributes:
        lines: what it wrote so far, both outputs together.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KODO_", "PG"))}
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**kept, **variables, "PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, text: str) -> None:
        """Writes a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def has_said(self, text: str) -> bool:
        """Whether a line of its output holds the text."""
        return any(text in line for line in self.lines)

    def ended(self) -> int:
        """Its exit code, once it and its output have ended."""
        code = self._process.wait(120)
        self._reader.join(10)
        return code

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it with all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def running(arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Process]:
    """A process for the block.

    Args:
        arguments: of Python. folder: its current one. variables: added to the environment, which has no ``KODO_*``.
    """
    process = Process(arguments, folder, variables)
    try:
        yield process
    finally:
        process.kill()
