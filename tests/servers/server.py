"""What the servers of tests have in common: a process, a port and a folder that nobody else uses."""

from __future__ import annotations

import contextlib
import random
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

START_S = 120.0
"""What a server may take to start, or to end."""


LOWEST_PORT, LOWEST_OF_CLIENTS = 20_000, 32_768
"""Free ports are chosen between them: the system gives clients theirs from the second on, unless it says otherwise."""

_given: set[int] = set()


def free_port(below: int = LOWEST_OF_CLIENTS) -> int:
    """A TCP port that nobody listens on at the moment, each time another one.

    None of those that the system gives to clients: one of them could be another connection's by the time a server
    binds it, and who keeps trying to reach a server that is away would one day be connected to itself.
    """
    end = min(below, _lowest_of_clients())
    if end - LOWEST_PORT < 1_000:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
    while True:
        # Not the shared generator: what seeds that, as Hypothesis does, would have us give the same ports again.
        port = random.SystemRandom().randrange(LOWEST_PORT, end)
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def is_free(port: int) -> bool:
    """Whether nobody has a TCP port at the moment."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _lowest_of_clients() -> int:
    with contextlib.suppress(OSError):
        told = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        return int(told.split()[0])
    return LOWEST_OF_CLIENTS


def listens(port: int) -> bool:
    """Whether connections are taken at a port of this machine.

    To be asked before a client of httpx is made anew for each try: that reads all certificates, for 30 ms of a core,
    which the process that is waited for could use.
    """
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
