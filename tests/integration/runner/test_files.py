"""The file systems over a panel: the same suite as over a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from kodosumi.runner.files import AsyncFileSystem, SyncFileSystem
from tests.integration.runner.served_panel import ServedPanel, served_panel
from tests.unit.runner.files.suite import FileSystem, FileSystemSuite, Make


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPanel]:
    """A panel in a thread of its own, for all tests of this file: starting one takes longer than a test."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(served_panel(tmp_path_factory.mktemp("panel"))) as panel,
    ):
        yield panel


@pytest.mark.parametrize("kind", [AsyncFileSystem, SyncFileSystem])
class TestPanel(FileSystemSuite):
    """The suite, with the run's own token."""

    @pytest.fixture
    def served(self, shared: ServedPanel) -> ServedPanel:
        """A run of its own."""
        return ServedPanel(shared.panel, shared.port)

    @pytest.fixture
    def home(self, served: ServedPanel) -> Path:
        return served.home

    @pytest.fixture
    def make(self, served: ServedPanel, kind: type[FileSystem]) -> Make:
        return lambda: kind(served.fid, served.url, served.token)
