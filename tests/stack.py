"""A `koco start` of one's own for acceptance tests and benchmarks: real processes, free ports, its own folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.servers.server import free_port

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
KOCO = Path(sys.executable).with_name("koco")
MARK = "KODOSUMI_TEST_MARK"
"""Variable that every process of one stack inherits, however it was started: so none is overlooked."""

START_TIMEOUT_S = 330.0
STOP_TIMEOUT_S = 150.0
"""More than its parts are given together before they are killed."""

READY = "Ctrl-C ends all that was started here."
"""The last line of what it says when it is ready."""


class StackProcess:
    """A running `koco start`.

    Args:
        folder: its current folder; data and logs land there.
        arguments: of `koco start`.
        environment: variables on top of this process's and of free ports; None takes one away.
        koco: the command to run; that of this environment by default.

    Attributes:
        url: the panel's address. serve_port: Ray Serve's port. mark: value of :data:`MARK`.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str | None] | None = None,
        koco: Path = KOCO,
    ) -> None:
        self.folder = folder
        self.port, self.serve_port = free_port(), free_port()
        self.url = f"http://localhost:{self.port}"
        self.mark = uuid.uuid4().hex
        merged = {
            **os.environ,
            "KODO_APP_SERVER": self.url,
            "KODO_SERVE_PORT": str(self.serve_port),
            "PYTHONUNBUFFERED": "1",
            # Workers that Ray starts ahead keep a small machine busy when the first run begins.
            "RAY_prestart_worker_first_driver": "0",
            MARK: self.mark,
            **(environment or {}),
        }
        self.environment = {name: value for name, value in merged.items() if value is not None}
        self._written: list[bytes] = []
        self.process = subprocess.Popen(
            [str(koco), "start", *arguments],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> StackProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """What it has written so far."""
        return b"".join(self._written).decode(errors="replace")

    def until_ready(self) -> StackProcess:
        """Returns when it has said all that it says when it is ready.

        Raises:
            AssertionError: it ended or took too long; shows what it wrote.
        """
        end = time.monotonic() + START_TIMEOUT_S
        while READY not in self.output:
            if self.process.poll() is not None or time.monotonic() > end:
                self._reader.join(5)
                raise AssertionError(f"koco start did not get ready:\n{self.output}")
            time.sleep(0.05)
        return self

    def stop(self) -> int:
        """Ends it as Ctrl-C does and returns its exit code; what doesn't end is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        finally:
            for process in self.processes():
                process.kill()
            self._reader.join(5)

    def processes(self) -> list[psutil.Process]:
        """Every living process that descends from this start, re-parented ones included."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def role(self, name: str) -> psutil.Process:
        """The child of a role: ``panel``, ``spooler`` or ``apps``."""
        for process in psutil.Process(self.process.pid).children():
            if process.cmdline()[2:4] == ["kodosumi.start.roles", name]:
                return process
        raise AssertionError(f"no {name} among the children of koco start")

    def _read(self) -> None:
        assert self.process.stdout is not None
        # As it comes, not line by line: what has begun is said on a line that isn't over.
        with self.process.stdout as stream:
            while written := os.read(stream.fileno(), 65_536):
                self._written.append(written)


def private_ray(temp_dir: Path) -> dict[str, str | None]:
    """Variables that make `koco start` start a Ray of its own which nobody else finds.

    Args:
        temp_dir: Ray's folder; its path must be short.
    """
    return {
        "KODO_RAY_SERVER": None,
        "RAY_ADDRESS": None,
        "RAY_AUTH_MODE": None,
        "RAY_TMPDIR": str(temp_dir),
        "KODO_RAY_DASHBOARD": f"http://localhost:{free_port()}",
    }
