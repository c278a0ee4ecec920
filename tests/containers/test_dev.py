"""The stack for development: panel and Ray, SQLite, the source as it is in the checkout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers.project import Project
from tests.containers.visitor import Visitor


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """It, ready."""
    project = Project(tmp_path_factory.mktemp("dev"), ["docker-compose.dev.yml"])
    try:
        project.up()
        yield project
    finally:
        project.down(volumes=True)


def test_the_stack_for_development_serves_hello(dev: Project) -> None:
    admin = Visitor(dev)

    fid = admin.launch("Hello", name="Ada")

    assert admin.result(fid) == "greeted Ada"


def test_the_stack_for_development_is_reached_on_loopback_alone(dev: Project) -> None:
    published = {
        (one["HostIp"], one["HostPort"])
        for container in dev.containers()
        for ports in container["NetworkSettings"]["Ports"].values()
        for one in ports or ()
    }

    assert ("127.0.0.1", str(dev.port)) in published
    assert {address for address, _ in published} == {"127.0.0.1"}
