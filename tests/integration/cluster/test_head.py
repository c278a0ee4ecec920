"""A Ray of our own: joined by anyone without a setting, gone without trace however its owner ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kodosumi.cluster.finding import address_file, answers
from tests.conditions import until

OWNER = """
import json, os, sys
from kodosumi import cluster
from kodosumi.config import Settings
head = cluster.start_head(Settings(ray_server=None), dashboard=False, num_cpus=2, object_store_bytes=100_000_000)
print(json.dumps({"address": head.address, "keeper": head._keeper.pid}), flush=True)
sys.stdin.readline()
head.stop()
print(head.alive)
"""

PLAIN_RAY = """
import ray
ray.init(log_to_driver=False)
print(ray.get(ray.remote(lambda: 40 + 2).remote()), ray.nodes()[0]["NodeManagerAddress"])
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A default folder of Ray's for this test alone."""
    with tempfile.TemporaryDirectory(prefix="kh", dir="/tmp", ignore_cleanup_errors=True) as name:
        monkeypatch.setenv("RAY_TMPDIR", name)
        for variable in ("RAY_ADDRESS", "KODO_RAY_SERVER", "RAY_AUTH_MODE"):
            monkeypatch.delenv(variable, raising=False)
        yield Path(name)


@pytest.fixture
def owner(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    facts = json.loads(process.stdout.readline())
    facts["family"] = psutil.Process(facts["keeper"]).children(recursive=True)
    yield process, facts
    process.kill()
    process.communicate()


async def assert_all_gone(facts: dict) -> None:
    def alive() -> list[psutil.Process]:
        family = [psutil.Process(facts["keeper"])] if psutil.pid_exists(facts["keeper"]) else []
        return [one for one in [*family, *facts["family"]] if one.is_running() and one.status() != "zombie"]

    def left() -> list[object]:
        try:
            return alive()
        except psutil.NoSuchProcess:
            return ["looking again"]

    # Ray's agents take a minute when head and keeper go at once: they try to report it to the head first.
    await until(left, lambda processes: not processes, deadline_s=120)
    assert not answers(facts["address"])


async def test_plain_ray_joins_and_a_stop_leaves_nothing(owner: tuple) -> None:
    process, facts = owner
    assert address_file(None).read_text() == facts["address"]
    for connection in (one for child in facts["family"] for one in child.net_connections("tcp")):
        if connection.status == psutil.CONN_LISTEN:
            assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1"), connection

    joined = subprocess.run([sys.executable, "-c", PLAIN_RAY], capture_output=True, text=True, timeout=120, check=True)
    assert joined.stdout.strip() == "42 127.0.0.1"

    output, _ = process.communicate("stop\n", timeout=60)
    assert output.strip() == "False"
    await assert_all_gone(facts)
    assert not address_file(None).exists()


@pytest.mark.fault
@pytest.mark.parametrize("victim", ["owner", "keeper", "gcs_server", "raylet"])
async def test_everything_goes_when_one_part_is_killed(owner: tuple, victim: str) -> None:
    process, facts = owner
    if victim == "owner":
        os.kill(process.pid, signal.SIGKILL)
    elif victim == "keeper":
        os.kill(facts["keeper"], signal.SIGKILL)
    else:
        next(child for child in facts["family"] if child.name() == victim).kill()

    await assert_all_gone(facts)
