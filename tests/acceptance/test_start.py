"""`koco start` on its own: a Ray of its own, everything ended by one Ctrl-C, nothing left behind, clear words."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kodosumi.config import load_settings
from kodosumi.start.pidfile import living_pid
from kodosumi.start.ports import port_taken
from kodosumi.store import connect_store
from tests.conditions import until
from tests.stack import EXAMPLES, KOCO, STOP_TIMEOUT_S, StackProcess, private_ray


@pytest.fixture
def ray_dir() -> Iterator[Path]:
    """A folder for a Ray that nobody else finds; short, because the names of Ray's sockets are long."""
    folder = Path(tempfile.mkdtemp(prefix="ks", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def running(client: httpx.Client, url: str) -> str:
    """The id of a run that is at work and would be for minutes."""
    await until(lambda: client.get(url).status_code == 200, deadline_s=120)
    fid: str = client.post(url, json={"limit": 5_000_000, "parts": 64}).raise_for_status().json()["result"]
    await until(
        lambda: client.get(f"/outputs/status/{fid}?extended=true").json()["status"],
        lambda state: state == "running",
        deadline_s=120,
    )
    return fid


@pytest.mark.timeout(600)
async def test_one_ctrl_c_ends_everything_and_tells_the_living_run(ray_dir: Path, tmp_path: Path) -> None:
    arguments = ["--app-dir", str(EXAMPLES), "--app", "prime.app:fast_app"]
    with StackProcess(tmp_path, arguments, private_ray(ray_dir)) as stack:
        stack.until_ready()
        assert "starting Ray" in stack.output
        assert "password admin" in stack.output
        with httpx.Client(base_url=stack.url, timeout=60) as client:
            client.post("/api/login", json={"name": "admin", "password": "admin"}).raise_for_status()
            fid = await running(client, f"/-/localhost/{stack.serve_port}/-/")

        stack.process.send_signal(signal.SIGINT)

        assert stack.process.wait(STOP_TIMEOUT_S) == 0
        # What was killed is gone a moment later.
        await until(stack.processes, lambda left: left == [])

    assert not any(port_taken("127.0.0.1", port) for port in (stack.port, stack.serve_port))
    store = connect_store(load_settings(exec_dir=tmp_path / "data/execution"))
    events = await store.events(fid)
    await store.close()
    assert [(event.kind, event.payload) for event in events[-2:]] == [
        ("error", "killed by shutdown"),
        ("status", "error"),
    ]


@pytest.mark.fault
@pytest.mark.timeout(600)
async def test_nothing_is_left_when_it_is_killed(ray_dir: Path, tmp_path: Path) -> None:
    with StackProcess(tmp_path, [], private_ray(ray_dir)) as stack:
        stack.until_ready()
        assert len(stack.processes()) > 3

        stack.process.kill()

        await until(stack.processes, lambda left: left == [], deadline_s=60)


@pytest.mark.fault
async def test_a_spooler_that_dies_is_started_again_and_that_is_said(stack: StackProcess) -> None:
    pidfile = stack.folder / "data/spooler.pid"
    killed = stack.role("spooler").pid
    assert living_pid(pidfile) == killed

    stack.role("spooler").kill()

    await until(lambda: living_pid(pidfile), lambda pid: pid not in {None, killed})
    await until(lambda: "spooler ended with exit code -9" in stack.output and "spooler runs again" in stack.output)


def test_a_second_start_says_which_port_is_taken_and_by_what(stack: StackProcess, tmp_path: Path) -> None:
    second = subprocess.run(
        [str(KOCO), "start"], cwd=tmp_path, env=stack.environment, capture_output=True, text=True, timeout=120
    )

    assert second.returncode == 1
    assert f"Port {stack.port}" in second.stdout
    assert f"pid {stack.role('panel').pid}" in second.stdout


async def test_an_app_that_cannot_be_imported_stops_the_start_with_its_name(ray_cluster: str, tmp_path: Path) -> None:
    with StackProcess(tmp_path, ["--app", "no_such_package.app:fast_app"]) as stack:
        assert stack.process.wait(120) == 1
        await until(stack.processes, lambda left: left == [])
        stack._reader.join(60)

        assert "no_such_package" in stack.output
        assert "Traceback" not in stack.output


async def test_a_spooler_in_the_background_is_started_seen_and_stopped(stack: StackProcess, tmp_path: Path) -> None:
    def koco(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(KOCO), "spool", *arguments],
            cwd=tmp_path,
            env=stack.environment,
            capture_output=True,
            text=True,
            timeout=150,
        )

    try:
        started = koco()
        assert started.returncode == 0, started.stderr
        pid = int(started.stdout)
        status = koco("--status")
        assert (status.returncode, str(pid) in status.stdout) == (0, True)
        assert koco("--start").stdout == started.stdout, "one that lives is found, not doubled"
    finally:
        stopped = koco("--stop")

    assert stopped.returncode == 0
    assert living_pid(tmp_path / "data/spooler.pid") is None


async def test_a_terminated_start_ends_like_an_interrupted_one(ray_cluster: str, tmp_path: Path) -> None:
    with StackProcess(tmp_path) as stack:
        stack.until_ready()

        stack.process.send_signal(signal.SIGTERM)

        assert stack.process.wait(STOP_TIMEOUT_S) == 0
        await until(stack.processes, lambda left: left == [])


@pytest.mark.fault
async def test_a_second_ctrl_c_ends_at_once(ray_cluster: str, tmp_path: Path) -> None:
    with StackProcess(tmp_path) as stack:
        stack.until_ready()

        stack.process.send_signal(signal.SIGINT)
        await until(lambda: "once more ends at once" in stack.output)
        stack.process.send_signal(signal.SIGINT)

        assert stack.process.wait(STOP_TIMEOUT_S) in {0, 130}
        await until(stack.processes, lambda left: left == [])


@pytest.mark.fault
@pytest.mark.timeout(600)
async def test_ctrl_c_while_ray_is_starting_leaves_nothing(ray_dir: Path, tmp_path: Path) -> None:
    with StackProcess(tmp_path, [], private_ray(ray_dir)) as stack:
        await until(lambda: "starting Ray" in stack.output, deadline_s=120)

        stack.process.send_signal(signal.SIGINT)

        assert stack.process.wait(STOP_TIMEOUT_S) == 0
        await until(stack.processes, lambda left: left == [])
