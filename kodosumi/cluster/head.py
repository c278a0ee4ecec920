"""A Ray cluster of our own on this machine, bound to loopback, that never outlives its owner.

A keeper process (``keeper.py``) starts Ray and holds it; it ends Ray when the pipe from its owner closes, which
happens however the owner dies.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..config import Settings
from ..error import ClusterError
from .finding import answers, joinable, read_address_file

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0
MEMBER_STORE_BYTES = 80 * 1024 * 1024
"""Shared memory for objects on a node that runs nothing; about the least that Ray takes."""

KEEPER_ENVIRONMENT = {
    # Nobody else is in this cluster, or on this node, so there's nothing to drain; runs are ended by us before.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
HEAD_ENVIRONMENT = {
    **KEEPER_ENVIRONMENT,
    "RAY_AUTH_MODE": "token",
    # Without "clusters" Ray takes 127.0.0.1 for this machine's address, and all of it listens there only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


class Head:
    """A running cluster of ours.

    Attributes:
        address: for ``KODO_RAY_SERVER`` and ``ray.init``.
        dashboard: its URL, or None.
    """

    def __init__(self, keeper: subprocess.Popen[bytes], address: str, dashboard: str | None) -> None:
        self._keeper = keeper
        self.address = address
        self.dashboard = dashboard

    @property
    def alive(self) -> bool:
        """Whether it still runs; it ends by itself when a part of Ray dies."""
        return self._keeper.poll() is None

    def stop(self) -> None:
        """Ends Ray with all its workers; takes about two seconds, idempotent."""
        _close(self._keeper.stdin)
        try:
            self._keeper.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            logger.warning("Ray did not stop in %s s and is killed", STOP_TIMEOUT_S)
            self._keeper.kill()
            self._keeper.wait()
        _close(self._keeper.stdout)


def start_head(
    settings: Settings,
    *,
    dashboard: bool = True,
    temp_dir: Path | None = None,
    num_cpus: int | None = None,
    object_store_bytes: int | None = None,
) -> Head:
    """Starts Ray on this machine and returns when it can be joined (about 10 s).

    While it runs, processes without any setting join it: Ray's address file names it.

    Args:
        settings: ``ray_dashboard`` gives the dashboard's port.
        dashboard: serve it, on 127.0.0.1, which ``serve deploy`` needs, and show workers' output to drivers that want
            it. Two processes fewer without.
        temp_dir: Ray's temporary folder, with an address file of its own, so that nobody else finds this cluster;
            keep it short (sockets have long names). Ray's default when None.
        num_cpus: logical CPUs it offers; the machine's by default.
        object_store_bytes: shared memory for objects; Ray's choice by default.

    Raises:
        ClusterError: it didn't start, with the reason.
    """
    options = {
        "dashboard_port": urlsplit(settings.ray_dashboard).port or 8265 if dashboard else None,
        "temp_dir": str(temp_dir) if temp_dir else None,
        "num_cpus": num_cpus,
        "object_store_bytes": object_store_bytes,
    }
    with _one_at_a_time(temp_dir):
        running = read_address_file(temp_dir)
        if running and answers(running):
            raise ClusterError(f"Ray runs here already, at {running}.")
        return _start_keeper(options, HEAD_ENVIRONMENT)


def start_member(address: str, labels: Mapping[str, str]) -> Head:
    """Starts a node of a cluster elsewhere on this machine, which offers no CPUs and ends with this process.

    Args:
        address: ``host:port`` of the cluster's head. labels: of the node.

    Raises:
        ClusterError: it didn't start, with the reason.
    """
    options = {"join": address, "labels": dict(labels), "num_cpus": 0, "object_store_bytes": MEMBER_STORE_BYTES}
    return _start_keeper({**options, "dashboard_port": None, "temp_dir": None}, KEEPER_ENVIRONMENT)


def _start_keeper(options: dict[str, Any], variables: Mapping[str, str]) -> Head:
    environment = {**os.environ, **variables}
    # The keeper makes a cluster; a named one would be joined instead.
    environment.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryFile() as errors:
        keeper = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "kodosumi.cluster.keeper", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        # A keeper that hangs is killed, which ends the reading of its answer.
        watchdog = threading.Timer(START_TIMEOUT_S, keeper.kill)
        watchdog.start()
        try:
            assert keeper.stdout is not None
            answer = json.loads(keeper.stdout.readline() or "{}")
        except BaseException:
            _close(keeper.stdin)
            raise
        finally:
            watchdog.cancel()
        if "address" not in answer:
            keeper.kill()
            keeper.wait()
            _close(keeper.stdin)
            _close(keeper.stdout)
            errors.seek(0)
            reason = answer.get("error") or errors.read()[-2000:].decode(errors="replace") or "no reason given"
            raise ClusterError(f"Ray could not be started: {reason}")
    return Head(keeper, joinable(answer["address"]), answer["dashboard"])


@contextmanager
def _one_at_a_time(temp_dir: Path | None) -> Iterator[None]:
    """Two processes that find no cluster at the same moment must not both start one."""
    if temp_dir is None:
        path = Path(tempfile.gettempdir()) / f"kodosumi-ray-{os.getuid()}.lock"
    else:
        temp_dir.mkdir(parents=True, exist_ok=True)
        path = temp_dir / "start.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _close(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except BrokenPipeError:
        logger.debug("the keeper was gone already")
