"""Python, Ray, and the packages that the settings need beside kodosumi's own."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from .. import __version__
from ..config import Settings
from .report import Finding, fine, warning, wrong

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
OLDEST_RAY = (2, 60)
"""A test compares these with pyproject.toml."""


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """The versions, and which extra lacks a package."""
    yield fine("kodosumi", __version__)
    yield python(sys.version_info[:2])
    yield ray(_version("ray"))
    for extra, module, why in needed(settings):
        if find_spec(module) is None:
            yield wrong(module, f"is not installed, and {why} needs it", f"Run `pip install 'kodosumi[{extra}]'`.")
        else:
            yield fine(module, _version(module) or "installed")


def python(running: tuple[int, ...]) -> Finding:
    """Whether a Python version is supported.

    Args:
        running: major and minor.
    """
    oldest, newest = (".".join(map(str, each)) for each in (OLDEST_PYTHON, NEWEST_PYTHON))
    remedy = f"Install kodosumi in an environment of Python {oldest} to {newest}."
    shown = ".".join(map(str, running))
    if running < OLDEST_PYTHON:
        return wrong("Python", f"{shown} is too old", remedy)
    if running > NEWEST_PYTHON:
        return warning("Python", f"{shown} is newer than what kodosumi is tested with", remedy)
    return fine("Python", platform.python_version() if running == sys.version_info[:2] else shown)


def ray(installed: str | None) -> Finding:
    """Whether a version of Ray will do; None: there is none."""
    if installed is None:
        return wrong("Ray", "is not installed", "Run `pip install 'ray[serve]'`.")
    numbers = tuple(map(int, re.findall(r"\d+", installed)[:2]))
    if numbers < OLDEST_RAY:
        oldest = ".".join(map(str, OLDEST_RAY))
        return wrong("Ray", f"{installed} is too old", f"Run `pip install 'ray[serve]>={oldest}'` on every node.")
    return fine("Ray", installed)


def needed(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Extra, module and what needs it, of each optional package that these settings use."""
    for name in ("execution_database", "admin_database"):
        if (getattr(settings, name) or "").startswith("postgresql"):
            yield "postgres", "asyncpg", f"KODO_{name.upper()}"
            break
    if settings.event_transport == "redis":
        yield "redis", "redis", "KODO_EVENT_TRANSPORT=redis"
    if settings.execution_mode == "temporal":
        yield "temporal", "temporalio", "KODO_EXECUTION_MODE=temporal"
    if (settings.file_store or "").startswith("s3:"):
        yield "s3", "obstore", "KODO_FILE_STORE"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
