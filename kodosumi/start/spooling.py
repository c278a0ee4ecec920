"""A spooler as a process: with its pid file, in the foreground, in the background, or as a child of `koco start`."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from .. import schema
from ..config import Settings
from ..error import KodosumiError, StoreUnavailable, TransportUnavailable
from ..execution import connect_mode
from ..log import setup_logging
from ..spooler import Spooler
from ..store import connect_store
from ..transport import connect_transport
from .lifeline import CANCEL_RUNS, CANCELLED, READY, Lifeline
from .pidfile import PidFile, living_pid, spooler_pidfile
from .runs import cancel_runs

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
END_WITHIN_S = 50.0
"""What a spooler may take to end once it was told to."""


def spool_here(settings: Settings, lifeline: Lifeline | None = None) -> None:
    """Runs a spooler in this process until SIGINT or SIGTERM.

    Args:
        settings: as loaded.
        lifeline: to `koco start`, which may ask to cancel all runs before it ends; None when there is none.

    Raises:
        ConfigurationError: a setting stops it, or the database's schema is behind; names the remedy.
    """
    require_webhook(settings)
    setup_logging(
        settings.spooler_log_file,
        settings.spooler_log_file_level,
        settings.spooler_std_level,
        settings.uvicorn_level,
        log_format=settings.log_format,
        process="spooler",
    )
    with PidFile(spooler_pidfile(settings)):
        asyncio.run(_spool(settings, lifeline))


async def _spool(settings: Settings, lifeline: Lifeline | None) -> None:
    if not await _database_ready(settings):
        return
    with suppress(TransportUnavailable):  # it waits for a transport that is down
        await _require_transport(settings)
    mode, store = connect_mode(settings), connect_store(settings)
    spooler = Spooler(settings, mode=mode, store=store)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Should it hang, it says where and ends: what it has taken and not stored is given to another, or to the next.
        faulthandler.dump_traceback_later(END_WITHIN_S, exit=True)
        spooler.stop()

    def catch_signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)

    catch_signals()
    if lifeline is None:
        # Again when Ray is joined: it puts handlers of its own in place.
        await spooler.run(catch_signals)
        return

    async def cancel() -> None:
        await cancel_runs(mode, store)
        lifeline.say(CANCELLED)

    lifeline.on(CANCEL_RUNS, lambda: _run_on(loop, cancel))

    def ready() -> None:
        catch_signals()
        lifeline.say(READY)

    await spooler.run(ready)


async def _database_ready(settings: Settings) -> bool:
    """Waits for the database; False when a signal ended the waiting."""
    waiting = asyncio.ensure_future(schema.until_current(settings, "execution"))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, waiting.cancel)
    await asyncio.wait([waiting])
    if waiting.cancelled():
        return False
    waiting.result()
    return True


def require_webhook(settings: Settings) -> None:
    """Refuses a webhook that can't be used, before anything is started or written."""
    if settings.webhook_url:
        from ..webhook import target_of

        target_of(settings)


async def _require_transport(settings: Settings) -> None:
    """Tells now what the spooler would find out later, among the warnings of what it waits for."""
    transport = connect_transport(settings)
    try:
        await transport.check()
    finally:
        await transport.close()


def _run_on(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    asyncio.run_coroutine_threadsafe(work(), loop)  # type: ignore[arg-type]


def spool_in_background(settings: Settings) -> int:
    """Starts a spooler that outlives this process, or finds the one that already lives.

    Returns:
        Its process id.

    Raises:
        ConfigurationError: the database's schema is behind, it can't be used, or the webhook can't; names the remedy.
        KodosumiError: it ended at once; the text is its last word.
    """
    path = spooler_pidfile(settings)
    if (pid := living_pid(path)) is not None:
        return pid
    require_webhook(settings)
    with suppress(StoreUnavailable):  # the spooler waits for a database that is down, and says so in its log
        asyncio.run(schema.require_current(settings, "execution"))
    with suppress(TransportUnavailable):  # likewise
        asyncio.run(_require_transport(settings))
    process = subprocess.Popen(
        [sys.executable, "-m", "kodosumi.cli", "spool", "--block"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if not _within(START_TIMEOUT_S, lambda: process.poll() is not None or living_pid(path) == process.pid):
        process.kill()
        raise KodosumiError("The spooler did not start in time; `koco spool --block` shows what it does.")
    if process.returncode is not None:
        assert process.stderr is not None
        raise KodosumiError(process.stderr.read().decode(errors="replace").strip() or "The spooler ended at once.")
    return process.pid


def stop_spooler(settings: Settings) -> bool:
    """Asks the spooler of these settings to end, drained, and waits for it; whether there was one.

    Raises:
        KodosumiError: it doesn't end.
    """
    path = spooler_pidfile(settings)
    pid = living_pid(path)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not _within(STOP_TIMEOUT_S, lambda: living_pid(path) is None):
        raise KodosumiError(f"The spooler (pid {pid}) does not end; the store may be unwritable. See its log.")
    return True


def _within(timeout_s: float, holds: Callable[[], bool], pause_s: float = 0.05) -> bool:
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True
