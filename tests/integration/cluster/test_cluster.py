"""Joining the cluster and what its processes share, on a real Ray."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from uuid import uuid4

import pytest

from kodosumi import cluster
from kodosumi.config import Settings
from kodosumi.error import ClusterError


async def test_joining_again_is_a_no_op_from_any_thread(ray_cluster: str) -> None:
    settings = Settings(ray_server=ray_cluster)

    cluster.attach(settings)
    await asyncio.gather(*(asyncio.to_thread(cluster.attach, settings) for _ in range(3)))
    await cluster.attached(settings)


def test_the_survey_names_the_machines(ray_cluster: str) -> None:
    [node] = cluster.survey()

    assert node == cluster.Node("127.0.0.1", True, 16.0)


def test_facts_are_read_by_every_process(ray_cluster: str) -> None:
    prefix = uuid4().hex
    assert cluster.published(f"{prefix}/a") is None
    assert not cluster.publish(f"{prefix}/b", b"\x00b")
    assert not cluster.publish(f"{prefix}/a", b"1")
    assert cluster.publish(f"{prefix}/a", b"2", overwrite=False)

    code = f"""
from kodosumi import cluster
from kodosumi.config import load_settings
cluster.attach(load_settings())
print(cluster.published("{prefix}/a"), cluster.published("{prefix}/b"), cluster.published_keys("{prefix}/"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)

    # Nothing but what we print: no banner of Ray, no warning about tokens.
    assert done.stdout.strip() == f"b'1' b'\\x00b' ['{prefix}/a', '{prefix}/b']"
    assert done.stderr == ""


def test_a_cluster_that_is_not_there_is_reported_at_once() -> None:
    code = """
from kodosumi import cluster
from kodosumi.config import Settings
from kodosumi.error import ClusterError
try:
    cluster.attach(Settings(ray_server="127.0.0.1:1"))
except ClusterError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert "KODO_RAY_SERVER" in done.stdout


async def test_without_a_cluster_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("kodosumi.cluster.connection._is_attached", lambda: False)

    with pytest.raises(ClusterError, match="koco start"):
        await cluster.attached(Settings(ray_server=None))
