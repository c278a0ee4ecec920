"""Asks all areas at once, each in bounded time, and prints what they found."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..config import Settings, load_settings
from ..error import ConfigurationError
from . import databases, disk, durable, events, exposure, files, ports, ray_cluster, software, variables
from .report import Finding, Report, wrong

AREA_TIMEOUT_S = 20.0
"""What an area may take; its parts have shorter limits of their own."""

SHORTEST_SECRET = 4
"""Shorter ones aren't hidden: hiding `a` would leave no text."""

Check = Callable[[Settings], AsyncIterator[Finding]]

AREAS: Mapping[str, Check] = {
    "software": software.check,
    "security": exposure.check,
    "disk": disk.check,
    "ports": ports.check,
    "Ray": ray_cluster.check,
    "databases": databases.check,
    "events": events.check,
    "durable runs": durable.check,
    "files": files.check,
}
"""Area -> what looks at it; one that yields nothing isn't used with these settings."""

SETTINGS = "settings"


def run_doctor(env_file: Path | None, *, as_json: bool) -> Report:
    """Looks at everything and prints the report; what ``koco doctor`` does.

    Args:
        env_file: settings are read from it instead of ``.env``. as_json: for programs.
    """
    # Parts that are looked at would log what the report says anyway.
    logging.disable(logging.CRITICAL)
    try:
        # Not asyncio.run, which would wait for threads that hang.
        loop = asyncio.new_event_loop()
        report = loop.run_until_complete(examine(env_file))
    finally:
        logging.disable(logging.NOTSET)
    if not report.unfinished:
        loop.close()
    sys.stdout.write((report.as_json() if as_json else report.as_text(sys.stdout.encoding or "ascii")) + "\n")
    sys.stdout.flush()
    return report


async def examine(env_file: Path | None = None) -> Report:
    """What there is to say about the parts that the settings name.

    Args:
        env_file: settings are read from it instead of ``.env``.
    """
    found = list(variables.found_in(env_file))
    try:
        settings = load_settings(_env_file=env_file)
    except ConfigurationError as exc:
        remedy = "Correct it; docs/reference/configuration.md has every variable."
        return Report({SETTINGS: [*found, *(wrong("value", line, remedy) for line in str(exc).splitlines())]})
    found += variables.usable(settings)
    collected = await asyncio.gather(*(_collect(check, settings) for check in AREAS.values()))
    areas = {SETTINGS: found} | {name: some for name, (some, _) in zip(AREAS, collected, strict=True) if some}
    unfinished = any(late for _, late in collected)
    return Report(areas, unfinished).without(secrets_of(settings))


def secrets_of(settings: Settings) -> set[str]:
    """Every value that must not be shown, and the passwords within URLs, as written and as meant."""
    kept = (getattr(settings, name) for name, field in Settings.model_fields.items() if not field.repr)
    hidden = {str(value) for value in kept if value is not None}
    hidden -= {str(field.default) for field in Settings.model_fields.values()}
    urls = (settings.redis_url, settings.admin_database, settings.execution_database or "", settings.webhook_url or "")
    for url in urls:
        login = url.partition("://")[2].rpartition("@")[0].partition("/")[0]
        password = login.partition(":")[2]
        hidden |= {password, unquote(password)} | _query_of(url)
    return {secret for secret in hidden if len(secret) >= SHORTEST_SECRET}


def _query_of(url: str) -> set[str]:
    try:
        query = urlsplit(url).query
    except ValueError:
        return set()
    return {value for name, _, value in (part.partition("=") for part in query.split("&")) if "password" in name}


async def _collect(check: Check, settings: Settings) -> tuple[list[Finding], bool]:
    """An area's findings, and whether it did not come to its end in time."""
    found: list[Finding] = []

    async def ask() -> None:
        async for finding in check(settings):
            found.append(finding)  # noqa: PERF401 - those found before the time is over are kept

    asking = asyncio.create_task(ask())
    done, _ = await asyncio.wait({asking}, timeout=AREA_TIMEOUT_S)
    if not done:
        asking.cancel()
        remedy = "Look whether a network or a disk hangs; then run `koco doctor` again."
        return [*found, wrong("answer", f"none within {AREA_TIMEOUT_S:g} s", remedy)], True
    error = asking.exception()
    if isinstance(error, ConfigurationError):
        found.append(wrong("settings", str(error), "Correct the variable, then run `koco doctor` again."))
    elif error is not None:
        remedy = "This is an error of `koco doctor` itself: please report it."
        found.append(wrong("look", f"{type(error).__name__}: {error}", remedy))
    return found, False
