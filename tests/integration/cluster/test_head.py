"""A Ray of our own: joined by anyone without a setting, gone without trace however its owner ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from kodosumi.cluster.finding import address_file, answers
from tests.conditions import lives, until

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


Owner = tuple[subprocess.Popen[str], dict[str, Any]]


@contextmanager
def living_owner() -> Iterator[Owner]:
    """A process that owns a Ray in a default folder of its own, and what it says of it."""
    with (
        tempfile.TemporaryDirectory(prefix="kh", dir="/tmp", ignore_cleanup_errors=True) as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", name)
        for variable in ("RAY_ADDRESS", "KODO_RAY_SERVER", "RAY_AUTH_MODE"):
            patch.delenv(variable, raising=False)
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        facts["family"] = psutil.Process(facts["keeper"]).children(recursive=True)
        yield process, facts
        process.kill()
        process.communicate()


@pytest.fixture
def owner() -> Iterator[Owner]:
    """A Ray whose parts a test may kill; the environment lets anyone find it."""
    with living_owner() as living:
        yield living


@pytest.fixture(scope="module")
def orphans() -> Iterator[dict[str, Any]]:
    """What was a Ray until its keeper was killed.

    Once for the module, and looked at last: Ray's agents take a minute to end when head and keeper go at once, since
    they try to report it to the head first.
    """
    with living_owner() as (_, facts):
        os.kill(facts["keeper"], signal.SIGKILL)
    yield facts


async def test_a_killed_keeper_takes_the_head_with_it(orphans: dict[str, Any]) -> None:
    await until(lambda: not answers(orphans["address"]))


async def assert_all_gone(facts: dict[str, Any]) -> None:
    def left() -> list[object]:
        return [one for one in (facts["keeper"], *facts["family"]) if lives(one)]

    await until(left, lambda processes: not processes, deadline_s=120)
    assert not answers(facts["address"])


async def test_plain_ray_joins_and_a_stop_leaves_nothing(owner: Owner) -> None:
    process, facts = owner
    assert address_file(None).read_text() == facts["address"]
    for connection in (one for child in facts["family"] if lives(child) for one in child.net_connections("tcp")):
        if connection.status == psutil.CONN_LISTEN:
            assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1"), connection

    joined = subprocess.run([sys.executable, "-c", PLAIN_RAY], capture_output=True, text=True, timeout=120, check=True)
    assert joined.stdout.strip() == "42 127.0.0.1"

    output, _ = process.communicate("stop\n", timeout=60)
    assert output.strip() == "False"
    await assert_all_gone(facts)
    assert not address_file(None).exists()


@pytest.mark.fault
@pytest.mark.parametrize("victim", ["owner", "gcs_server", "raylet"])
async def test_everything_goes_when_one_part_is_killed(owner: Owner, victim: str) -> None:
    process, facts = owner
    if victim == "owner":
        os.kill(process.pid, signal.SIGKILL)
    else:
        next(child for child in facts["family"] if lives(child) and child.name() == victim).kill()

    await assert_all_gone(facts)


@pytest.mark.fault
async def test_everything_goes_when_the_keeper_is_killed(orphans: dict[str, Any]) -> None:
    await assert_all_gone(orphans)
