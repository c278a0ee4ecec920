"""Temporal, where runs are durable: there, with the namespace, and with a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec

from ..config import Settings
from ..error import ConfigurationError
from ..execution import connect_mode
from .clocks import compared
from .report import Finding, fine, warning, wrong

TIMEOUT_S = 15.0
START = "Start it, or correct KODO_TEMPORAL_HOST; the how-to *Durable execution* says how."
SETTINGS = "Correct the variable that is named, or make the namespace: `temporal operator namespace create`."


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the settings' Temporal can be used, and whether somebody works for it."""
    if settings.execution_mode != "temporal":
        if settings.execution_mode != "direct":
            # Says which there are, when it's none of them.
            await connect_mode(settings).close()
        return
    if find_spec("temporalio") is None:
        return
    from ..execution import temporal_client

    before_s = time.time()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            client = await temporal_client.connect(settings, lazy=False)
            before_s = time.time()
            workers = await temporal_client.pollers(client, settings)
    except TimeoutError:
        yield wrong("Temporal", f"{settings.temporal_host} does not answer in time", START)
        return
    except temporal_client.FAILURES as exc:
        refusal = temporal_client.refused(settings, exc)
        if refusal is not None:
            yield wrong("Temporal", str(refusal), SETTINGS)
        else:
            yield wrong("Temporal", str(temporal_client.unavailable(settings, exc)), START)
        return
    except ConfigurationError as exc:
        yield wrong("Temporal", str(exc), SETTINGS)
        return
    yield fine("Temporal", f"{settings.temporal_host}, namespace {settings.temporal_namespace}")
    queue = settings.temporal_task_queue
    if not workers:
        yield warning("worker", f"none polls {queue}", "Start one: `koco temporal-worker`.")
        return
    yield fine("worker", f"{len(workers)} poll {queue}")
    now_s = time.time()
    latest_s = max(at for _, at in workers)
    # Temporal tells its time only by what happened: what lies in our future shows that its clock is ahead of ours.
    yield compared(max(latest_s, now_s), before_s, now_s)
