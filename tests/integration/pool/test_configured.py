"""What the pool was configured with, over its restart."""

from __future__ import annotations

import os
import signal

from kodosumi.config import Settings
from kodosumi.error import LaunchUnavailable
from kodosumi.execution.direct import DirectMode
from tests.conditions import until


async def test_a_pool_that_died_goes_on_with_what_it_was_configured_with(settings: Settings) -> None:
    # Nobody configures it again here: with other settings, a launch would go to another transport than is read.
    await until(DirectMode(settings).configure, lambda _: True)
    mode = DirectMode(settings.model_copy(update={"max_runs": 7, "redis_stream_prefix": "elsewhere:"}))
    await until(mode.configure, lambda _: True)
    pool = await mode._connected()
    before = await pool.pid.remote()
    os.kill(before, signal.SIGKILL)

    async def known_again() -> int | None:
        try:
            await mode.known(["0" * 24])
        except LaunchUnavailable:
            return None
        return int(await pool.pid.remote())

    await until(known_again, lambda pid: pid not in (None, before))
    found = await pool.__ray_call__.remote(lambda self: (self._settings.max_runs, self._settings.redis_stream_prefix))
    assert found == (7, "elsewhere:")
    await until(DirectMode(settings).configure, lambda _: True)
    await mode.close()
