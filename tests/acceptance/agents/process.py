"""An app of this folder as a process of its own: served by uvicorn, on the session's Ray, registered with a panel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conditions import PAUSE_S
from tests.servers.server import free_port, listens
from tests.stack import StackProcess

FOLDER = Path(__file__).parent
READY_S = 150.0


@contextmanager
def app_process(stack: StackProcess, name: str) -> Iterator[int]:
    """Serves ``agents.{name}``, such as ``bad:app``, for as long as the block runs; gives its port."""
    port = free_port()
    log = stack.folder / f"app-{port}.log"
    command = [sys.executable, "-m", "uvicorn", f"agents.{name}", "--app-dir", str(FOLDER.parent), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=FOLDER.parent,
            env=stack.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port)
        yield port
    except AssertionError:
        print(log.read_text(errors="replace")[-4000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def registered(admin: httpx.Client, port: int) -> Iterator[str]:
    """Registers the app at a port for as long as the block runs; gives its place under the panel."""
    source = {"url": f"http://localhost:{port}/openapi.json"}
    admin.post("/flow/register", json=source).raise_for_status()
    try:
        yield f"/-/localhost/{port}/-"
    finally:
        admin.post("/flow/unregister", json=source)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    # Not tests.conditions.until: a browser of Playwright's may hold this thread's event loop.
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert process.poll() is None, "the app ended"
        try:
            if listens(port) and httpx.get(f"http://localhost:{port}/openapi.json").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(PAUSE_S)
    raise AssertionError(f"the app did not answer within {READY_S} s")
