"""Queue actors of a test's own on the session's Ray."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import ray

from kodosumi.config import Settings
from kodosumi.transport.ray import RayTransport
from tests.conditions import until
from tests.transport_contract import MakeTransport


@pytest.fixture
def make(ray_cluster: str) -> Iterator[MakeTransport]:
    namespaces = []

    async def make(queues: int = 1, **bounds: int) -> RayTransport:
        namespaces.append(f"test-{uuid4().hex}")
        settings = Settings(ray_server=ray_cluster)
        transport = RayTransport(queues, namespace=namespaces[-1], settings=settings, **bounds)
        # Starting an actor's process takes longer than a test means to wait for an answer.
        await until(transport.status, deadline_s=60)
        return transport

    yield make
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] in namespaces:
            ray.kill(ray.get_actor(**actor))
