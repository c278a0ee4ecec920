"""The stack that tests share: started from the compose files as they are, and removed with its volumes at the end.

Files run in the order of their names, which matters: ``test_dev`` has the machine for itself, and ``test_temporal``
leaves the stack in another mode.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.project import IMAGE, Project
from tests.containers.visitor import Visitor

HERE = Path(__file__).parent
TIMEOUT_S = 3600
NO_ENGINE = (
    "no container engine with Compose answers ({}): install Docker Engine and its Compose plugin "
    "(https://docs.docker.com/engine/install), start it, and run `make test-containers` again"
)
PROJECT = pytest.StashKey[list[Project]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Building an image and starting a stack take many minutes."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Ends everything at once where no engine answers, or the image wasn't built."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        said = _failure(command)
        if said is not None:
            pytest.exit(NO_ENGINE.format(said), returncode=1)
    if _failure(["docker", "image", "inspect", IMAGE]) is not None:
        pytest.exit(f"there is no image {IMAGE}: run `make test-containers`, which builds it", returncode=1)


def _failure(command: list[str]) -> str | None:
    """The first line of what a command says that fails; None of one that doesn't."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    lines = [*done.stderr.splitlines(), "it failed"] if done.returncode else []
    return lines[0] if lines else None


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Project]:
    """The full stack, ready."""
    stack = Project(tmp_path_factory.mktemp("stack"))
    request.config.stash.setdefault(PROJECT, []).append(stack)
    try:
        stack.up()
        yield stack
    finally:
        stack.down(volumes=True)


@pytest.fixture
def admin(project: Project) -> Visitor:
    """The first operator at the full stack, to which all examples are known."""
    return Visitor(project)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that fails shows what the containers said."""
    report = yield
    if report.failed and report.when != "teardown":  # type: ignore[attr-defined]
        for project in item.config.stash.get(PROJECT, []):
            try:
                report.sections.append((f"containers of {project.name}", project.logs()))  # type: ignore[attr-defined]
            except AssertionError as exc:
                report.sections.append((f"containers of {project.name}", str(exc)))  # type: ignore[attr-defined]
    return report
