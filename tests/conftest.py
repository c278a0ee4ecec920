"""What all tests share: one isolated Ray for the whole session, started when the first test asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi import cluster
from kodosumi.config import Settings
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.servers.temporal import TemporalServer

pytest.register_assert_rewrite(
    "tests.transport_contract",
    "tests.store_contract",
    "tests.file_store_contract",
    "tests.mode_contract",
    "tests.acceptance.walks",
    "tests.containers.project",
    "tests.containers.visitor",
    "tests.acceptance.faults.durable",
    "tests.unit.runner.files.suite",
)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Address of a Ray that only this session knows; ``KODO_RAY_SERVER`` names it for child processes.

    This process has joined it. Detached actors live on between tests: use execution ids of your own.
    """
    # Not pytest's folder: the names of Ray's sockets would grow too long.
    temp_dir = Path(tempfile.mkdtemp(prefix="kr", dir="/tmp"))
    settings = Settings(ray_server=None, _env_file=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # Eight workers at once would keep a small machine busy before the first test.
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        # Tests have many small things at once, none of which needs a processor of its own.
        head = cluster.start_head(
            settings, dashboard=False, temp_dir=temp_dir, num_cpus=16, object_store_bytes=200_000_000
        )
        patch.setenv("KODO_RAY_SERVER", head.address)
        try:
            cluster.attach(Settings(ray_server=head.address, _env_file=None))
            yield head.address
        finally:
            _leave()
            head.stop()
            shutil.rmtree(temp_dir, ignore_errors=True)


def _leave() -> None:
    import ray

    ray.shutdown()
    os.environ.pop("RAY_AUTH_MODE", None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that only this session knows; tests that stop it, or need settings, start their own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a fresh database with our tables."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server that only this session knows: use key prefixes of your own."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[TemporalServer]:
    """A Temporal server that only this session knows: use a task queue of your own."""
    with TemporalServer() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server that speaks S3 and that only this session knows: make a bucket of your own."""
    with S3Server() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """``KODO_FILE_STORE`` for a fresh bucket; the environment leads there, for child processes too."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.create_bucket()}/kodo"


TIERS = ("unit", "integration", "acceptance", "containers", "wheel")
ON_DEMAND = ("containers", "wheel")
"""Folders whose tests run only when their marker, which has the folder's name, is selected with ``-m``."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Small tests first. The acceptance tier's stack reads every event of the session's Ray, so it must come last."""
    selected = str(config.getoption("markexpr"))
    deselected = []
    for item in items:
        folder = _folder(item)
        if folder in ON_DEMAND:
            item.add_marker(folder)
            if folder not in selected:
                deselected.append(item)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
    items.sort(key=lambda item: TIERS.index(_folder(item)) if _folder(item) in TIERS else 0)


def _folder(item: pytest.Item) -> str:
    """The folder below ``tests/`` that a test is in."""
    return item.path.relative_to(Path(__file__).parent).parts[0]
