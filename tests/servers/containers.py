"""Servers in containers, for tests that want another version than this machine's; skipped without an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def postgres_container(image: str) -> Iterator[str]:
    """URL of an empty database in a container that lives as long as the block; skips where none can be had."""
    # The container ends with the block; nobody else has to look after it, and the image of who would isn't needed.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    import docker
    from docker.errors import DockerException
    from testcontainers.community.postgres import PostgresContainer

    try:
        docker.from_env().ping()
    except DockerException:
        pytest.skip("no container engine answers")
    container = PostgresContainer(image, driver="asyncpg")
    try:
        container.start()
    except DockerException as exc:
        pytest.skip(f"{image} cannot be had: {exc}")
    try:
        yield container.get_connection_url()
    finally:
        container.stop()
