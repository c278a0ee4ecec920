"""Runs flow apps on Ray Serve for `koco start --app`, and takes them down again."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from .. import cluster
from ..cluster.finding import answers
from ..config import Settings
from ..error import ClusterError, ConfigurationError
from ..log import JsonFormatter, setup_last_resort
from .lifeline import READY, Lifeline

CHECK_S = 5.0
CHECK_ENDED_S = 0.1


def routes_url(settings: Settings) -> str:
    """Where Ray Serve lists the apps that `koco start` runs."""
    return f"http://localhost:{settings.serve_port}/-/routes"


def route_prefixes(names: Sequence[str]) -> dict[str, str]:
    """The path of each app on Ray Serve: ``/`` for a single one, else ``/`` and its package's name.

    Args:
        names: as given, ``module:name``.

    Raises:
        ConfigurationError: a name without ``module:`` or two apps of one path.
    """
    prefixes: dict[str, str] = {}
    for name in dict.fromkeys(names):
        module, colon, attribute = name.partition(":")
        if not colon or not module or not attribute:
            raise ConfigurationError(f"--app {name}: say MODULE:NAME, as in my_service.app:fast_app")
        package = module.split(".")[-2] if "." in module else module
        prefix = "/" if len(set(names)) == 1 else f"/{package}"
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


def serve_apps(settings: Settings, names: Sequence[str], lifeline: Lifeline) -> None:
    """Runs the apps until SIGINT or SIGTERM, then removes them, and Ray Serve too when it serves nothing else.

    Args:
        settings: as loaded.
        names: applications, ``module:name``, importable from the current folder.
        lifeline: to `koco start`, told when all of them answer.
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
    serve.start(http_options={"host": "127.0.0.1", "port": settings.serve_port})
    if settings.log_format == "json":
        # Ray Serve sets up its own logger when it starts.
        for handler in logging.getLogger("ray.serve").handlers:
            handler.setFormatter(JsonFormatter("apps"))
    prefixes = route_prefixes(names)
    running = {name: prefixes[name].strip("/") or name.partition(":")[0].split(".")[0] for name in applications}
    # All at once: each takes seconds until it answers, most of them waiting.
    serve.run_many(
        [serve.RunTarget(application, running[name], prefixes[name]) for name, application in applications.items()]
    )
    lifeline.say(READY)
    while not stop.wait(CHECK_S):
        # Ctrl-C at somebody's `serve run` shuts all of Ray Serve down, our apps included.
        if not answers(f"127.0.0.1:{settings.serve_port}"):
            raise ClusterError("Ray Serve was shut down.")
    for application_name in running.values():
        serve.delete(application_name, _blocking=False)
    while left := serve.status().applications:
        if not left.keys() & set(running.values()):
            return
        time.sleep(CHECK_ENDED_S)
    serve.shutdown()
