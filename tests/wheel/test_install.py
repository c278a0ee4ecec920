"""`pip install` of the wheel, without a lock, gives a package that runs an agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kodosumi import __version__
from tests.conditions import until
from tests.sse import read_stream
from tests.stack import EXAMPLES, ROOT, StackProcess, private_ray

pytestmark = pytest.mark.timeout(1200)


def run(*command: str | Path, folder: Path) -> str:
    """Runs a command without this environment's variables for Python and returns its output."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("KODO_", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of a fresh environment with the wheel, and nothing else, installed from the package index."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, folder=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "environment", folder=folder)
    commands = folder / "environment" / "bin"
    run(commands / "python", "-m", "pip", "install", "--quiet", wheel, folder=folder)
    return commands


@pytest.fixture
def ray_dir() -> Iterator[Path]:
    """A short path: the names of Ray's sockets are limited."""
    folder = Path(tempfile.mkdtemp(prefix="kw", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_requirements_are_consistent_and_the_command_is_there(installed: Path, tmp_path: Path) -> None:
    run(installed / "python", "-m", "pip", "check", folder=tmp_path)

    assert run(installed / "koco", "--version", folder=tmp_path).strip() == __version__
    where = run(installed / "python", "-c", "import kodosumi; print(kodosumi.__file__)", folder=tmp_path)
    assert where.startswith(str(installed.parent))


async def test_the_hello_example_runs(installed: Path, ray_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "hello", tmp_path / "hello")
    variables = {**private_ray(ray_dir), "PYTHONPATH": None}

    with StackProcess(tmp_path, ["--app", "hello.app:fast_app"], variables, installed / "koco") as stack:
        stack.until_ready()
        with httpx.Client(base_url=stack.url, timeout=60) as client:
            client.post("/api/login", json={"name": "admin", "password": "admin"}).raise_for_status()
            form = f"/-/localhost/{stack.serve_port}/-/"
            await until(lambda: client.get(form).status_code == 200, deadline_s=120)
            fid = client.post(form, json={"name": "Ada"}).raise_for_status().json()["result"]

            events = read_stream(client, f"/outputs/stream/{fid}?extended=true")

    assert events[-2].payload == "finished", [event.payload for event in events if event.kind == "error"]
    assert any("greeted Ada" in event.payload for event in events if event.kind == "final")
