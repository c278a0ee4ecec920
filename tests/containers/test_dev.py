"""The stack for developing: the panel and a Ray of its own, SQLite, and the source as it is in the checkout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi import __version__
from tests.acceptance.faults.plant import wait_for
from tests.containers.project import Project
from tests.containers.visitor import DEADLINE_S, Visitor
from tests.stack import ROOT

FILES = ("docker-compose.dev.yml", "alembic.ini")
FOLDERS = ("kodosumi", "migrations", "examples")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is mounted, to be changed."""
    copy = tmp_path_factory.mktemp("checkout")
    for file in FILES:
        shutil.copy(ROOT / file, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def dev(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """It, ready."""
    project = Project(tmp_path_factory.mktemp("dev"), ["docker-compose.dev.yml"], root=checkout)
    try:
        project.up()
        yield project
    finally:
        project.down(volumes=True)


def test_the_stack_for_developing_serves_hello(dev: Project) -> None:
    admin = Visitor(dev)

    fid = admin.launch("Hello", name="Ada")

    assert admin.result(fid) == "greeted Ada"


def test_its_panel_restarts_when_the_source_changes(dev: Project, checkout: Path) -> None:
    admin = Visitor(dev)
    module = checkout / "kodosumi" / "__init__.py"
    assert served_version(admin) == __version__

    module.write_text(module.read_text().replace(__version__, "9.9.9"))

    wait_for(lambda: served_version(admin), lambda version: version == "9.9.9", DEADLINE_S)
    # Whoever was logged in still is.
    assert admin.client.get("/role/me").status_code == 200


def test_the_stack_for_developing_is_reached_on_loopback_alone(dev: Project) -> None:
    published = {
        (one["HostIp"], one["HostPort"])
        for container in dev.containers()
        for ports in container["NetworkSettings"]["Ports"].values()
        for one in ports or ()
    }

    assert published == {("127.0.0.1", str(dev.port))}


def served_version(admin: Visitor) -> str:
    """The version that the panel says it is of."""
    version: str = admin.client.get("/schema/openapi.json").raise_for_status().json()["info"]["version"]
    return version
