"""A folder of executions, and what must be the same of it after it was read."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where executions lie."""
    made = tmp_path / "execution"
    made.mkdir()
    return made
