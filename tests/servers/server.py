"""What the servers of tests have in common: a process, a port and a folder that nobody else uses."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from tests.conditions import PAUSE_S

START_S = 60.0
"""What a server may take to start, or to end."""


PORTS = range(20_000, 30_000)
"""Below those that systems give to whoever asks for any: between choosing one of these and listening, none is taken."""

_given: set[int] = set()


def free_port() -> int:
    """A TCP port that nobody listens on, and that this process was not given before."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


class Server(ABC):
    """One server: it runs inside ``with`` and is removed afterwards, or is started by hand.

    Args:
        port: where it listens; by default a free one.

    Attributes:
        folder: holds its log and whatever it keeps.
    """

    NAME: ClassVar[str]

    def __init__(self, port: int | None = None) -> None:
        # Not pytest's folder: the names of sockets would grow too long.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.NAME.lower()}-", dir="/tmp"))
        self.port = port or free_port()
        self._log = self.folder / "log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, on the same port and with what it has kept; returns when it answers.

        Raises:
            RuntimeError: it ended, or doesn't answer in time; shows what it wrote.
        """
        self._prepare()
        written = len(self.log())
        self._process = self._spawn()
        deadline = time.monotonic() + START_S
        while self.alive and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(PAUSE_S)
        raise RuntimeError(f"{self.NAME} did not start:\n{self.log()[written:][-2000:]}")

    def kill(self) -> None:
        """Ends it as a loss of power would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """``kill`` and ``start``: empty unless it keeps its data on disk."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stops it where it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Ends it, with all that it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote."""
        return self._log.read_text(errors="replace")

    # what a server says of itself -------------------------------------------------------------------------------

    @abstractmethod
    def _command(self) -> list[str]:
        """What is run, in its folder."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it can be used."""

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Makes in its folder what it needs; called before each start."""

    def _environment(self) -> dict[str, str] | None:
        """All its variables; None: those of this process."""
        return None

    # ------------------------------------------------------------------------------------------------------------

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_S)
