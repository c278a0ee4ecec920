"""`koco start`: everything on one machine, started in order, kept alive, and ended in order.

Ray is joined or started; a spooler, the panel, the apps and, in mode `temporal`, a worker are children of their own. On
the first signal launches are refused, living runs are cancelled with a notice if their Ray is about to end, and the
children end from the reader's side to the cluster's, so that nothing that was accepted stays unstored. A second signal
ends all at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx

from .. import cluster, schema
from ..cluster.finding import answers
from ..config import Settings
from ..error import ClusterError, ConfigurationError, KodosumiError
from ..options import environment_of
from .apps import route_prefixes, routes_url
from .child import Child, ChildDied
from .console import say, step
from .lifeline import CANCEL_RUNS, CANCELLED
from .ports import owner_of, port_taken
from .spooling import require_webhook

READY_TIMEOUT_S = 300.0
CANCEL_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
RAY_CHECK_S = 2.0
UNUSABLE, INTERRUPTED = 2, 130
WORKER = "temporal-worker"
TERMINAL_LEVELS = {f"KODO_{name}_STD_LEVEL": "WARNING" for name in ("APP", "SPOOLER", "TEMPORAL")}


class PortTaken(KodosumiError):
    """A port that this start needs is in use; the text says which, by what, and how to choose another."""


class Stack:
    """What one `koco start` runs.

    Args:
        settings: as loaded.
        apps: Ray Serve applications to run, ``module:name``.
        app_dir: folder they are imported from.

    Raises:
        ConfigurationError: an app's name can't be used.
    """

    def __init__(self, settings: Settings, apps: Sequence[str], app_dir: Path) -> None:
        route_prefixes(apps)
        if apps:
            sources = [*settings.register_flow, routes_url(settings)]
            settings = settings.model_copy(update={"register_flow": list(dict.fromkeys(sources))})
        self._settings = settings
        self._apps = list(apps)
        self._app_dir = app_dir.absolute()
        self._head: cluster.Head | None = None
        self._ray_start: asyncio.Task[cluster.Head] | None = None
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Starts everything, waits for a signal, ends everything; returns the exit code."""
        self._catch_signals()
        starting = asyncio.create_task(self._start())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                starting.result()
                return await self._watch(stopped)
            return 0
        except ConfigurationError as exc:
            say(str(exc))
            return UNUSABLE
        except (ChildDied, KodosumiError) as exc:
            say(str(exc))
            return 1
        finally:
            await self._end(starting)
            stopped.cancel()

    # starting ------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        require_webhook(self._settings)
        joined = await asyncio.to_thread(cluster.runs_here, self._settings)
        self._check_ports(ray_runs=joined is not None)
        await self._upgrade_databases()
        await self._provide_ray(joined)
        # On this terminal progress and trouble only, unless a level was asked for; the log files have the rest.
        environment = {**os.environ, **TERMINAL_LEVELS, **environment_of(self._settings)}
        panel = Child("panel", [], environment)
        self._children = [Child("spooler", [], environment)]
        if self._settings.execution_mode == "temporal":
            self._children.append(Child(WORKER, [], environment))
        if self._apps:
            self._children.append(Child("apps", self._apps, environment, folder=self._app_dir))
        for child in self._children:
            await child.start()
        for child in self._children:
            with step(f"starting {child.name}"):
                await self._ready_in_time(child)
        # Last, so that it finds the apps it registers.
        self._children.append(panel)
        with step("starting panel"):
            await panel.start()
            await self._ready_in_time(panel)
        self._keepers = [asyncio.create_task(child.keep_alive()) for child in self._children]
        self._greet()

    def _check_ports(self, *, ray_runs: bool) -> None:
        wanted = {("the panel", self._settings.app_host, self._settings.app_port, "--address")}
        if self._apps and not ray_runs:
            wanted.add(("Ray Serve", "127.0.0.1", self._settings.serve_port, "KODO_SERVE_PORT"))
        for what, host, port, remedy in sorted(wanted):
            if port_taken(host, port):
                owner = owner_of(port) or "another process"
                raise PortTaken(f"Port {port} for {what} is taken by {owner}. End it, or choose another by {remedy}.")

    async def _upgrade_databases(self) -> None:
        for database in schema.databases(self._settings):
            state = await schema.until_reached(partial(schema.current, database), say)
            if state.standing is schema.Standing.BEHIND:
                with step(f"upgrading the {database.name} database to {database.head}"):
                    await schema.upgrade(database)

    async def _provide_ray(self, joined: str | None) -> None:
        if joined is not None:
            if not await asyncio.to_thread(answers, joined):
                raise ClusterError(f"Ray at {joined} does not answer. Start it, or unset KODO_RAY_SERVER.")
            say(f"joining Ray at {joined}")
            address = joined
        else:
            with step("starting Ray"):
                # Shielded: a start of Ray can't be called off, so whoever ends us waits for it.
                self._ray_start = asyncio.create_task(asyncio.to_thread(cluster.start_head, self._settings))
                self._head = await asyncio.shield(self._ray_start)
            address = self._head.address
        self._settings = self._settings.model_copy(update={"ray_server": address})
        self._settings.model_fields_set.add("ray_server")

    async def _ready_in_time(self, child: Child) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._ready(child)
        except TimeoutError as exc:
            raise KodosumiError(f"{child.name} was not ready within {READY_TIMEOUT_S:.0f} s") from exc

    async def _ready(self, child: Child) -> None:
        if child.name != "panel":
            await child.ready()
            return
        # The panel serves when it answers; it may have been asked to run in several processes, or to reload.
        died = asyncio.create_task(child.ready())
        try:
            while not died.done():
                if await self._panel_answers():
                    return
                await asyncio.sleep(0.1)
            died.result()
        finally:
            died.cancel()

    async def _panel_answers(self) -> bool:
        try:
            async with httpx.AsyncClient(verify=False, timeout=5.0, trust_env=False) as client:  # noqa: S501 - ourselves
                return (await client.get(f"{self._address()}/health/live")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _address(self) -> str:
        secure = "https" if self._settings.ssl_certfile else "http"
        host = self._settings.app_host
        shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
        return f"{secure}://{shown}:{self._settings.app_port}"

    def _greet(self) -> None:
        say(f"\nkodosumi is ready at {self._address()}")
        settings = self._settings
        default = type(settings).model_fields["admin_password"].default
        if settings.bound_to_loopback and settings.admin_password == default:
            say(f"first login: admin, password {default}")
        for name, prefix in route_prefixes(self._apps).items():
            say(f"  {name} at http://localhost:{settings.serve_port}{prefix}")
        say("Ctrl-C ends all that was started here.\n")

    # living --------------------------------------------------------------------------------------------------------

    async def _watch(self, stopped: asyncio.Task[bool]) -> int:
        """Waits for a signal, or for the Ray that was started here to die; returns the exit code."""
        watches = [stopped]
        if self._head is not None:
            watches.append(asyncio.create_task(self._ray_died()))
        await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.is_set():
            for watch in watches:
                watch.cancel()
            return 0
        say("Ray has died; ending the rest. Start again: what was stored is kept.")
        return 1

    async def _ray_died(self) -> bool:
        while self._head is not None and self._head.alive:  # noqa: ASYNC110 - a process that another thread may wait for
            await asyncio.sleep(RAY_CHECK_S)
        return True

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._end_at_once()
        # First: whoever read our terminal may be gone, which is no reason to go on.
        self._stop.set()
        say("\nending; once more ends at once")

    # ending --------------------------------------------------------------------------------------------------------

    async def _end(self, starting: asyncio.Task[None]) -> None:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if self._ray_start is not None and self._head is None:
            with suppress(ClusterError):
                self._head = await self._ray_start
        for keeper in self._keepers:
            keeper.cancel()
        by_name = {child.name: child for child in self._children}
        if self._head is not None and self._keepers:
            with step("cancelling what runs"):
                await by_name["spooler"].ask(CANCEL_RUNS, CANCELLED, CANCEL_TIMEOUT_S)
        # Apps on a Ray of our own end with it; elsewhere they would stay. A worker sees the ends that are stored.
        ordered = ("panel", WORKER, "spooler", *(() if self._head is not None else ("apps",)))
        for name in ordered:
            if name in by_name and by_name[name].pid is not None:
                with step(f"ending {name}"):
                    await by_name[name].stop(STOP_TIMEOUT_S)
        for child in self._children:
            child.kill()
        if self._head is not None:
            with step("ending Ray"):
                await asyncio.to_thread(self._head.stop)

    def _end_at_once(self) -> None:
        for child in self._children:
            child.kill()
        if self._head is not None:
            self._head.stop()
        sys.stdout.flush()
        # Not sys.exit: threads may be held in a start or a stop that nobody waits for any more.
        os._exit(INTERRUPTED)


def run_stack(settings: Settings, apps: Sequence[str] = (), app_dir: Path | None = None) -> int:
    """Runs panel, spooler, apps and Ray until a signal; what ``koco start`` does.

    Args:
        settings: as loaded.
        apps: Ray Serve applications, ``module:name``.
        app_dir: folder they are imported from; the current one by default.

    Returns:
        The exit code: 0 after a signal, 1 when something could not start or Ray died, 2 when a setting stops it.

    Raises:
        ConfigurationError: an app's name can't be used.
    """

    async def run() -> int:
        return await Stack(settings, apps, app_dir or Path.cwd()).run()

    return asyncio.run(run())
