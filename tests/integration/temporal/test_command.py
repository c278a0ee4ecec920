"""`koco temporal-worker` as a process: it waits for Temporal, says whether it works, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.execution.temporal import TemporalMode
from kodosumi.start.worker_status import worker_status
from tests.conditions import until
from tests.servers.server import free_port
from tests.servers.temporal import TemporalServer
from tests.stack import KOCO


@pytest.fixture
def environment(temporal_server: TemporalServer, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("KODO_")},
        "KODO_TEMPORAL_HOST": temporal_server.address,
        "KODO_TEMPORAL_TASK_QUEUE": tmp_path.name,
        # Nothing listens there: the worker looks for Ray in the background, in vain.
        "KODO_RAY_SERVER": f"127.0.0.1:{free_port()}",
        "KODO_EVENT_TRANSPORT": "memory",
    }


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(KOCO), "temporal-worker"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


async def koco(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    process = await asyncio.create_subprocess_exec(
        str(KOCO), *arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_is_seen_and_ends_when_asked(
    worker: subprocess.Popen[str], environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    settings = Settings(
        temporal_host=environment["KODO_TEMPORAL_HOST"], temporal_task_queue=tmp_path.name, _env_file=None
    )

    async def seen() -> bool:
        return (await asyncio.to_thread(worker_status, settings))[0]

    await until(seen, deadline_s=120)
    assert await TemporalMode(settings).workers() == 1
    code, said = await koco(environment, tmp_path, "temporal-worker", "--status")
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == f"Temporal at {environment['KODO_TEMPORAL_HOST']}, namespace default"
    assert lines[1:3] == [f"workers that poll {tmp_path.name}: 1", "open runs: 0"]
    assert lines[4].startswith(f"{worker.pid}@")
    worker.send_signal(number)
    assert await asyncio.to_thread(worker.wait, 30) == 0


async def test_no_worker_is_an_exit_code(environment: dict[str, str], tmp_path: Path) -> None:
    host = environment["KODO_TEMPORAL_HOST"]
    assert await TemporalMode(Settings(temporal_host=host, temporal_task_queue=tmp_path.name)).workers() == 0
    code, said = await koco(environment, tmp_path, "temporal-worker", "--status")
    assert code == 1
    assert f"no worker polls {tmp_path.name}" in said
    away = f"127.0.0.1:{free_port()}"
    code, said = await koco(environment, tmp_path, "temporal-worker", "--status", "--host", away)
    assert code == 1
    assert said.startswith(f"Temporal at {away}, namespace default cannot be asked: ")
    code, said = await koco(environment, tmp_path, "temporal-worker", "--namespace", "none")
    assert code == 2
    assert said.splitlines()[-1].startswith("KODO_TEMPORAL_NAMESPACE='none': ")


async def test_a_worker_waits_for_temporal(environment: dict[str, str], tmp_path: Path) -> None:
    server = TemporalServer()
    process = await asyncio.create_subprocess_exec(
        str(KOCO),
        "temporal-worker",
        cwd=tmp_path,
        env=environment | {"KODO_TEMPORAL_HOST": server.address},
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.readuntil(b"cannot be used now: nothing answers there."), 60)
        assert server.address in said.decode()
        with server:
            await asyncio.wait_for(process.stderr.readuntil(f"serves {tmp_path.name} at".encode()), 60)
            process.terminate()
            await asyncio.wait_for(process.communicate(), 30)
            assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
