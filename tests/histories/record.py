"""Records what Temporal keeps of runs of each kind, for the replay tests: ``python -m tests.histories.record``.

Run once for each released version, whose histories then stay: they are what running workflows will have behind them
when a later version takes them over.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cloudpickle

from kodosumi import __version__, workflows
from kodosumi.runner.spec import Retry
from tests.conditions import until
from tests.durable import Durable
from tests.scripted_pool import dies, dies_when_told, fails, raises, waits
from tests.servers.temporal import TemporalServer

Scene = Callable[[Durable], Awaitable[str]]

OURS = ("stackTrace", "identity", "workerVersion", "meteringMetadata")
"""What says more of the machine than of the run. The ``sdkMetadata`` stays: a replay does what it says."""


async def plain(durable: Durable) -> str:
    return await durable.launch("agent:run")


async def failed(durable: Durable) -> str:
    durable.pool.plays = [fails]
    return await durable.launch("agent:run")


async def retried(durable: Durable) -> str:
    durable.pool.plays = [raises, raises]
    return await durable.launch("agent:run", retry=Retry(max_attempts=3, delay=0.1))


async def died_twice(durable: Durable) -> str:
    durable.pool.plays = [dies, dies]
    return await durable.launch("agent:run")


async def died_for_good(durable: Durable) -> str:
    durable.pool.plays = [dies, dies, dies]
    return await durable.launch("agent:run")


async def paused(durable: Durable) -> str:
    """Told by others, by the mode that tells the run itself, and through the loss of an attempt."""
    durable.pool.plays = [dies_when_told, waits]
    fid = await durable.launch("agent:run")
    first = await durable.attempt(fid)
    handle = await durable.workflow(fid)
    await handle.signal("pause", "Eve")
    await handle.signal("resume", "Eve")
    await durable.mode.pause(fid, "Ada")
    first.go.set()
    second = await durable.attempt(fid, 2)
    await durable.mode.resume(fid, "Ada")
    second.go.set()
    return fid


async def cancelled(durable: Durable) -> str:
    durable.pool.plays = [waits]
    fid = await durable.launch("agent:run")
    await durable.attempt(fid)
    await durable.mode.cancel(fid, "Ada")
    return fid


async def cancelled_in_temporal(durable: Durable) -> str:
    durable.pool.plays = [waits]
    fid = await durable.launch("agent:run")
    await durable.attempt(fid)
    await (await durable.workflow(fid)).cancel()
    return fid


async def cancelled_between_attempts(durable: Durable) -> str:
    durable.pool.plays = [raises]
    fid = await durable.launch("agent:run", retry=Retry(delay=60.0))
    handle = await durable.workflow(fid)
    await until(lambda: handle.query("status"), lambda status: status["state"] == "waiting")
    await durable.mode.cancel(fid, "Ada")
    return fid


async def never_accepted(durable: Durable) -> str:
    spec = durable.spec("agent:run")
    await durable.mode._start(spec)
    return spec.fid


async def accepted_without_a_word(durable: Durable) -> str:
    spec = durable.spec("agent:run")
    await durable.mode._start(spec)
    await durable.store.keep_launch(spec.fid, spec.username, cloudpickle.dumps(spec))
    await durable.pool.announce(spec)
    return spec.fid


SCENES: tuple[Scene, ...] = (
    plain,
    failed,
    retried,
    died_twice,
    died_for_good,
    paused,
    cancelled,
    cancelled_in_temporal,
    cancelled_between_attempts,
    never_accepted,
    accepted_without_a_word,
)


def scrubbed(value: Any) -> Any:
    """A history without what names the machine it was recorded on."""
    if isinstance(value, dict):
        return {
            name: "sticky" if name == "name" and "@" in str(part) else scrubbed(part)
            for name, part in value.items()
            if name not in OURS
        }
    return [scrubbed(part) for part in value] if isinstance(value, list) else value


async def record(folder: Path) -> None:
    """Plays every scene and writes its history."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporalServer() as server, tempfile.TemporaryDirectory() as code:
        for scene in SCENES:
            durable = Durable(server.address, Path(code))
            async with durable.spooling(), durable.working():
                fid = await scene(durable)
                state = await durable.closed(fid)
                history = scrubbed(json.loads(await durable.history(fid)))
            (folder / f"{scene.__name__}.json").write_text(json.dumps(history, indent=1) + "\n")
            print(f"{scene.__name__}: {state}, {len(history['events'])} events")


if __name__ == "__main__":
    # Two of the scenes wait for this in vain.
    workflows.ACCEPTED_WITHIN = workflows.timedelta(seconds=2)
    asyncio.run(record(Path(__file__).parent / __version__))
