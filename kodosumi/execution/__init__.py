"""Execution modes: one table, one factory. See ``base.py`` for the contract."""

from __future__ import annotations

from importlib import import_module

from ..config import Settings
from ..error import ConfigurationError
from .base import ExecutionMode

MODES = {
    "direct": "kodosumi.execution.direct:DirectMode",
    "temporal": "kodosumi.execution.temporal:TemporalMode",
    "memory": "kodosumi.execution.memory:MemoryMode",
}
"""Value of ``KODO_EXECUTION_MODE`` -> class, imported when chosen."""

__all__ = ["MODES", "ExecutionMode", "connect_mode"]


def connect_mode(settings: Settings) -> ExecutionMode:
    """The mode that ``KODO_EXECUTION_MODE`` chooses.

    Raises:
        ConfigurationError: an unknown value (lists the choices) or a missing extra (names it).
    """
    try:
        module, _, attribute = MODES[settings.execution_mode].partition(":")
    except KeyError:
        choices = ", ".join(MODES)
        raise ConfigurationError(f"KODO_EXECUTION_MODE={settings.execution_mode!r}: choose one of {choices}") from None
    mode: ExecutionMode = getattr(import_module(module), attribute).from_settings(settings)
    return mode
