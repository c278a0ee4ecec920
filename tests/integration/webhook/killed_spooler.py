"""A spooler that is killed between the commit of what is to be told and its sending; settings by the environment."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable

from kodosumi.config import load_settings
from kodosumi.events import Batch
from kodosumi.spooler import Spooler
from kodosumi.store import connect_store
from kodosumi.store.summary import noticed
from kodosumi.webhook import Sender, target_of
from kodosumi.webhook.courier import Courier


class Killed(Sender):
    """Its process dies the moment it is told that there is something to send; it never sends anything."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def stored(self, batches: Iterable[Batch]) -> None:
        if any(noticed(batch.events, 0) for batch in batches):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    settings = load_settings()
    store = connect_store(settings)
    target = target_of(settings)
    assert target is not None
    sender = Killed(store, Courier(target.url, target.secret), settings.app_server)
    asyncio.run(Spooler(settings, store=store, sender=sender).run(lambda: print("ready", flush=True)))
