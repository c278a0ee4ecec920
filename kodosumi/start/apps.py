"""Runs flow apps on Ray Serve for `koco apps` and `koco start --app`, and takes them down again."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import cluster
from ..cluster.finding import answers, split
from ..config import Settings, is_loopback
from ..error import ClusterError, ConfigurationError
from ..log import JsonFormatter, setup_last_resort, setup_logging

logger = logging.getLogger(__name__)

CHECK_S = 5.0
CHECK_ENDED_S = 0.1
SERVE_TRIES = 3


def routes_url(settings: Settings) -> str:
    """Where Ray Serve lists the apps that `koco start` runs."""
    return f"http://localhost:{settings.serve_port}/-/routes"


def route_prefixes(names: Sequence[str], *, one_at_root: bool = True) -> dict[str, str]:
    """The path of each app on Ray Serve: ``/`` and its package's name.

    Args:
        names: as given, ``module:name``.
        one_at_root: a single one gets ``/``.

    Raises:
        ConfigurationError: a name without ``module:`` or two apps of one path.
    """
    prefixes: dict[str, str] = {}
    for name in dict.fromkeys(names):
        module, colon, attribute = name.partition(":")
        if not colon or not module or not attribute:
            raise ConfigurationError(f"--app {name}: say MODULE:NAME, as in my_service.app:fast_app")
        package = module.split(".")[-2] if "." in module else module
        prefix = "/" if one_at_root and len(set(names)) == 1 else f"/{package}"
        if prefix in prefixes.values():
            raise ConfigurationError(f"--app {name}: another app has the path {prefix}; give its package another name")
        prefixes[name] = prefix
    return prefixes


def load(name: str) -> Any:
    """The Ray Serve application that ``module:name`` names; a deployment that isn't bound yet is bound.

    Raises:
        ConfigurationError: it can't be imported or isn't one.
    """
    from ray.serve import Application, Deployment

    module, _, attribute = name.partition(":")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as exc:
        raise ConfigurationError(f"--app {name}: {exc}; looked in {os.getcwd()} and Python's path") from exc  # noqa: PTH109
    except AttributeError as exc:
        raise ConfigurationError(f"--app {name}: {exc}") from exc
    if isinstance(target, Deployment):
        target = target.bind()
    if not isinstance(target, Application):
        raise ConfigurationError(
            f"--app {name}: is {type(target).__name__}; name what `.bind()` of a Ray Serve deployment returned"
        )
    return target


def run_apps(
    settings: Settings, names: Sequence[str], app_dir: Path | None = None, ready_file: Path | None = None
) -> None:
    """:func:`serve_apps` as a process of its own, beside the apps of others: each under its package's name.

    Args:
        settings: as loaded. names: applications, ``module:name``.
        app_dir: folder they are imported from; by default the current one.
        ready_file: made when all of them answer, removed at the end.
    """
    ready_file = ready_file.absolute() if ready_file else None
    if app_dir is not None:
        os.chdir(app_dir)
    setup_logging(
        None, "INFO", settings.app_std_level, settings.uvicorn_level, log_format=settings.log_format, process="apps"
    )
    try:
        serve_apps(settings, names, lambda: _is_ready(settings, ready_file), one_at_root=False)
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _is_ready(settings: Settings, ready_file: Path | None) -> None:
    logger.info("all apps are served, see http://%s:%d/-/routes", _http_host(settings), settings.serve_port)
    if ready_file is not None:
        ready_file.touch()


def serve_apps(
    settings: Settings, names: Sequence[str], on_ready: Callable[[], None], *, one_at_root: bool = True
) -> None:
    """Runs the apps until SIGINT or SIGTERM, then removes them, and Ray Serve too when it serves nothing else.

    Args:
        settings: as loaded.
        names: applications, ``module:name``, importable from the current folder, and on the cluster's nodes.
        on_ready: called when all of them answer.
        one_at_root: a single one gets the path ``/``, which is for whoever has Ray Serve for himself.

    Raises:
        ConfigurationError: an app can't be loaded. ClusterError: there is no cluster, or Ray Serve was shut down.
    """
    from ray import serve

    if os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    setup_last_resort(settings.log_format, "apps")
    applications = {name: load(name) for name in names}
    cluster.attach(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # After joining: Ray puts handlers of its own in place.
        signal.signal(number, lambda *_: stop.set())
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _start_serve(settings)
    if settings.log_format == "json":
        # Ray Serve sets up its own logger when it starts.
        for handler in logging.getLogger("ray.serve").handlers:
            handler.setFormatter(JsonFormatter("apps"))
    prefixes = route_prefixes(names, one_at_root=one_at_root)
    running = {name: prefixes[name].strip("/") or name.partition(":")[0].split(".")[0] for name in applications}
    # All at once: each takes seconds until it answers, most of them waiting.
    serve.run_many(
        [serve.RunTarget(application, running[name], prefixes[name]) for name, application in applications.items()]
    )
    on_ready()
    address = f"{_http_host(settings)}:{settings.serve_port}"
    while not stop.wait(CHECK_S):
        # Ctrl-C at somebody's `serve run` shuts all of Ray Serve down, our apps included.
        if not answers(address):
            raise ClusterError("Ray Serve was shut down.")
    for application_name in running.values():
        serve.delete(application_name, _blocking=False)
    while left := serve.status().applications:
        if not left.keys() & set(running.values()):
            return
        time.sleep(CHECK_ENDED_S)
    serve.shutdown()


def _start_serve(settings: Settings) -> None:
    """Starts Ray Serve or finds it running; tries again, as two that start it at once get in each other's way."""
    from ray import serve
    from ray.exceptions import RayError

    for tries_left in reversed(range(SERVE_TRIES)):
        try:
            serve.start(http_options={"host": settings.serve_host, "port": settings.serve_port})
            return
        except RayError as exc:
            if not tries_left:
                raise ClusterError(f"Ray Serve cannot be started: {exc}") from exc
            logger.warning("Ray Serve did not start, trying again: %s", type(exc).__name__)


def _http_host(settings: Settings) -> str:
    """Where Ray Serve's HTTP is asked for: on the cluster's head when it is to listen for other machines."""
    if is_loopback(settings.serve_host):
        return settings.serve_host
    return split(cluster.runs_here(settings) or "127.0.0.1:0")[0]
