"""Servers in containers, for tests that want another version than this machine's; skipped without an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer


@contextmanager
def postgres_container(image: str) -> Iterator[str]:
    """URL of an empty database in a container that lives as long as the block; skips where none can be had."""
    require_engine()
    from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer(image, driver="asyncpg")
    with _running(container, image):
        yield container.get_connection_url()


@contextmanager
def redis_container(image: str) -> Iterator[str]:
    """URL of an empty Redis, or Valkey, in a container that lives as long as the block; skips where none can be had."""
    require_engine()
    from testcontainers.community.redis import RedisContainer

    container = RedisContainer(image)
    with _running(container, image):
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(container.port)}/0"


def require_engine() -> None:
    """Skips the test where no container engine answers."""
    # Containers end with their block; nobody else has to look after them, and the image of who would isn't needed.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    import docker
    from docker.errors import DockerException

    try:
        docker.from_env().ping()
    except DockerException:
        pytest.skip("no container engine answers")


@contextmanager
def _running(container: DockerContainer, image: str) -> Iterator[None]:
    from docker.errors import DockerException

    try:
        container.start()
    except DockerException as exc:
        pytest.skip(f"{image} cannot be had: {exc}")
    try:
        yield
    finally:
        container.stop()
