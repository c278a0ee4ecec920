"""The thread of an app's process on which the execution mode lives, and what tells the cluster where the app's code is.

An app's handlers may block their loop, and may run on several loops: what talks to the cluster has a loop of its own.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from . import cluster
from .config import Settings, process_settings
from .execution import ExecutionMode, connect_mode
from .log import setup_last_resort
from .runner.spec import AppEnvironment

logger = logging.getLogger(__name__)

WARM_FOR_S = 180.0
WARM_EVERY_S = 60.0

Result = TypeVar("Result")


class Launcher:
    """A thread with an event loop and the execution mode, one per process that launches.

    Args:
        settings: of this process.

    Attributes:
        mode: to be used on this thread alone, by way of :meth:`submit` or :meth:`ask`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        setup_last_resort(settings.log_format, "app")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kodosumi-launcher", daemon=True)
        self._thread.start()
        self.mode: ExecutionMode = connect_mode(settings)

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Runs a coroutine on the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def ask(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What a coroutine returns that runs on the thread; the caller's loop is free meanwhile."""
        return await asyncio.wrap_future(self.submit(work))

    async def attached(self, start: bool = False) -> None:
        """Connects this process to Ray where the mode needs that; see :func:`kodosumi.cluster.attached`."""
        if self.mode.name != "memory":
            await cluster.attached(self._settings, start=start)


def launcher() -> Launcher:
    """This process's launcher, made when first asked for."""
    # By process id: a forked server must not use its parent's thread.
    return _launcher_of(os.getpid())


@functools.cache
def _launcher_of(pid: int) -> Launcher:
    return Launcher(process_settings())


def keep_warm(app: Any) -> None:
    """Has the cluster keep a runner ready for an app, for as long as this process lives. Returns at once.

    Where no cluster runs, nothing is started for it: the first launch does that.

    Args:
        app: the ServeAPI that this process serves.
    """
    launcher().submit(_keep_warm(app))


async def _keep_warm(app: Any) -> None:
    while True:
        try:
            await launcher().attached()
            await launcher().mode.warm(environment_of(app), WARM_FOR_S)
        except Exception as exc:
            logger.debug("no runner is kept warm for %s: %s", app_name(app), exc)
        await asyncio.sleep(WARM_EVERY_S)


# where the app's code is ------------------------------------------------------------------------------------------


def environment_of(app: Any) -> AppEnvironment:
    """Where the code of an app that this process serves can be imported.

    Args:
        app: a ServeAPI or any other FastAPI app.
    """
    here = str(Path.cwd())
    extra = (entry or here for entry in sys.path if entry not in _plain_python() and "/ray/" not in entry)
    return AppEnvironment(app_name(app), _runtime_env(), tuple(dict.fromkeys(extra)), here)


def app_name(app: Any) -> str:
    """The name under which an app's runs share processes."""
    return str(getattr(app, "origin", None) or getattr(app, "title", "app"))


@functools.cache
def _plain_python() -> frozenset[str]:
    """Entries of ``sys.path`` that every Python of this installation has."""
    own = {*site.getsitepackages(), *sysconfig.get_paths().values(), site.getusersitepackages()}
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    return frozenset(
        {
            *own,
            str(stdlib / "lib-dynload"),
            str(stdlib.parent / f"python{sys.version_info[0]}{sys.version_info[1]}.zip"),
        }
    )


def _runtime_env() -> dict[str, Any]:
    import ray

    return dict(ray.get_runtime_context().runtime_env) if ray.is_initialized() else {}
