"""`koco temporal-worker --status`: who looks after durable runs, and how many there are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from ..config import Settings
from ..error import KodosumiError
from ..execution import temporal_client
from ..execution.temporal_client import FAILURES, Client

TIMEOUT_S = 15.0
TITLES = ("worker", "last asked for work")


def worker_status(settings: Settings) -> tuple[bool, str]:
    """Whether a worker polls the task queue, and a text that says which do.

    Raises:
        ConfigurationError: Temporal's client isn't installed, or a setting can't be used.
    """
    place = f"{settings.temporal_host}, namespace {settings.temporal_namespace}"
    try:
        alive, runs = asyncio.run(_asked(settings))
    except (KodosumiError, TimeoutError) as exc:
        return False, f"Temporal at {place} cannot be asked: {exc or 'no answer'}"
    queue = settings.temporal_task_queue
    headline = f"workers that poll {queue}: {len(alive)}" if alive else f"no worker polls {queue}"
    rows = [TITLES, *((name, datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")) for name, at in alive)]
    width = max(len(name) for name, _ in rows)
    table = [f"{name.ljust(width)}  {at}" for name, at in rows] if alive else []
    return bool(alive), "\n".join([f"Temporal at {place}", headline, f"open runs: {runs:,}", *table])


async def _asked(settings: Settings) -> tuple[list[tuple[str, float]], int]:
    """Name and last access (seconds since the epoch) of each worker, and how many workflows of its queue are open."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            client = await temporal_client.connect(settings, lazy=False)
            return await temporal_client.pollers(client, settings), await _open_runs(client, settings)
    except FAILURES as exc:
        raise temporal_client.refused(settings, exc) or temporal_client.unavailable(settings, exc) from exc


async def _open_runs(client: Client, settings: Settings) -> int:
    from ..workflows import WORKFLOW

    queue = settings.temporal_task_queue
    query = f"WorkflowType = '{WORKFLOW}' AND ExecutionStatus = 'Running' AND TaskQueue = '{queue}'"
    return (await client.count_workflows(query)).count
