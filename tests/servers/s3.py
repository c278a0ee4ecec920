"""A server of a test's own that speaks S3: moto's, in a process, on a port nobody else uses; it keeps all in memory."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.servers.redis import free_port

START_S = 60.0
_PAUSE_S = 0.05


class S3Server:
    """One server: it runs inside ``with``, or is started and stopped by hand."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path(tempfile.mkstemp(prefix="ks3", suffix=".log", dir="/tmp")[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "tester",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Starts it, empty; returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Ends it, with all that it kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_S)

    def pause(self) -> None:
        """Stops it where it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def create_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"kodosumi-{uuid.uuid4().hex[:12]}"
        httpx.put(f"{self.url}/{name}", trust_env=False).raise_for_status()
        return name

    def get(self, path: str) -> str:
        """What the server answers to an S3 request of the test's own, such as ``bucket?uploads``."""
        return httpx.get(f"{self.url}/{path}", trust_env=False).raise_for_status().text

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/moto-api/", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
