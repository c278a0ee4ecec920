"""One plant for each combination of execution mode, transport and store that can share work between processes."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from kodosumi.cluster import Head
from kodosumi.execution import MODES
from kodosumi.store import STORES
from kodosumi.transport import TRANSPORTS
from tests.acceptance.faults.plant import Plant
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.temporal import TemporalServer

ALONE = "memory"
"""The members for one process; they have their contract suites."""


class Combination(NamedTuple):
    """What ``KODO_EXECUTION_MODE``, ``KODO_EVENT_TRANSPORT`` and ``KODO_EXECUTION_DATABASE`` choose."""

    mode: str
    transport: str
    store: str

    def __str__(self) -> str:
        return "-".join(self)


DEFAULT = Combination("direct", "ray", "sqlite")


def _combinations() -> list[Combination]:
    """Every combination, the default first."""
    members = ([name for name in family if name != ALONE] for family in (MODES, TRANSPORTS, STORES))
    return sorted(itertools.starmap(Combination, itertools.product(*members)), key=lambda one: (one != DEFAULT, one))


Provide = Callable[[pytest.FixtureRequest], dict[str, Any]]


def _postgresql(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One new database for executions and roles alike."""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.url(server.create_database(migrated=False))
    return {"execution_database": url, "admin_database": url}


def _redis(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Keys of its own in the session's Redis."""
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = f"combination:{uuid.uuid4().hex}:"
    return {"event_transport": "redis", "redis_url": server.url(), "redis_stream_prefix": prefix}


def _temporal(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The session's Temporal; a plant has a task queue of its own."""
    server: TemporalServer = request.getfixturevalue("temporal_server")
    return {"execution_mode": "temporal", "temporal_host": server.address}


SETTINGS: dict[str, Provide] = {
    "direct": lambda _: {},
    "temporal": _temporal,
    "ray": lambda _: {"event_transport": "ray"},
    "redis": _redis,
    "sqlite": lambda _: {},
    "postgresql": _postgresql,
}
"""Settings that choose a member, with a server of its own where it needs one; a member without fails."""


@pytest.fixture(scope="package", params=_combinations(), ids=str)
def plant(request: pytest.FixtureRequest, head: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A working plant of each combination in turn."""
    combination: Combination = request.param
    settings: dict[str, Any] = {}
    for member in combination:
        settings |= SETTINGS[member](request)
    plant = Plant(tmp_path_factory.mktemp(str(combination)), head.address, **settings)
    plant.upgrade()
    plant.start()
    yield plant
    plant.stop()
    plant.show_logs()
