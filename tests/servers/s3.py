"""A server of a test's own that speaks S3: moto's, in a process, on a port nobody else uses; it keeps all in memory."""

from __future__ import annotations

import sys
import uuid

import httpx

from tests.servers.server import Server, listens


class S3Server(Server):
    """A server without buckets whenever it starts."""

    NAME = "moto"

    def __init__(self) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "tester",
            "AWS_REGION": "us-east-1",
        }

    def create_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"kodosumi-{uuid.uuid4().hex[:12]}"
        httpx.put(f"{self.url}/{name}", trust_env=False, timeout=60).raise_for_status()
        return name

    def get(self, path: str) -> str:
        """What the server answers to an S3 request of the test's own, such as ``bucket?uploads``."""
        return httpx.get(f"{self.url}/{path}", trust_env=False, timeout=60).raise_for_status().text

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def _answers(self) -> bool:
        if not listens(self.port):
            return False
        try:
            return httpx.get(f"{self.url}/moto-api/", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
