"""Mode ``direct``: the contract of every mode, through the pool and a runner's process."""

from __future__ import annotations

from tests.mode_contract import ModeContract


class TestDirectMode(ModeContract):
    """The suite on this member."""
