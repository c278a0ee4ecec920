"""Serves the panel: uvicorn with TLS, workers or reload, from settings alone.

Options given on the command line reach worker and reload processes through the environment, never as arguments: a
process list shows no secret. What would stop a worker is found out before the first one starts, and said in one line.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from .. import schema
from ..config import Settings, load_settings
from ..error import ConfigurationError
from ..log import logging_config, setup_logging
from ..options import environment_of
from .app import create_app
from .parts import opened_database
from .secrets import secret_key

logger = logging.getLogger(__name__)

DRAIN_S = 10
"""Seconds that requests in flight get at the end; live streams end at once, see ``closing.py``."""

BACKLOG = 2048
_TLS = ("keyfile", "certfile", "keyfile_password", "version", "cert_reqs", "ca_certs", "ciphers")


def run(settings: Settings | None = None) -> None:
    """Serves the panel until SIGINT or SIGTERM, then ends it, drained.

    Args:
        settings: as loaded; by default what the environment gives.

    Raises:
        ConfigurationError: the port is taken, or a setting, the secret or a password stops the start; says what to do.
    """
    settings = settings or load_settings()
    setup_logging(**_log_options(settings))
    with _ended_by_signals():
        asyncio.run(check(settings))
        sockets = bind(settings.app_host, settings.app_port)
        try:
            logger.info("panel at %s", settings.app_server)
            _serve(settings, sockets)
        finally:
            _close(sockets)


async def check(settings: Settings) -> None:
    """Does what each panel process will do first, so that what it lacks is said once, before any of them starts.

    Raises:
        ConfigurationError: says what to set.
    """
    await asyncio.to_thread(secret_key, settings)
    async with opened_database(settings):
        await schema.until_current(settings, "execution")


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that every address of ``host`` can be reached by.

    Raises:
        ConfigurationError: the port is taken, or the host is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as exc:
        raise ConfigurationError(f"KODO_APP_SERVER: {host!r} cannot be resolved: {exc}") from exc
    sockets: list[socket.socket] = []
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            sockets.append(_bound(family, address))
        except OSError as exc:
            # A name may have addresses that this machine lacks (::1 without IPv6): one that works is enough.
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                _close(sockets)
                raise ConfigurationError(_why_not(host, port, exc)) from exc
    if not sockets:
        raise ConfigurationError(f"KODO_APP_SERVER: {host!r} is no address of this machine.")
    return sockets


def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    many = settings.app_reload or settings.app_workers > 1
    if many:
        os.environ.update(environment_of(settings))
    app: Any = "kodosumi.service.app:create_app" if many else create_app(**settings.model_dump(exclude_unset=True))
    config = _config(settings, app)
    if settings.app_reload:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=sockets).run()
    elif many:
        Multiprocess(config, sockets=sockets).run()
    else:
        uvicorn.Server(config).run(sockets)


def _config(settings: Settings, app: Any) -> uvicorn.Config:
    tls = {f"ssl_{name}": getattr(settings, f"ssl_{name}") for name in _TLS}
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.app_host,
        port=settings.app_port,
        workers=settings.app_workers,
        reload=settings.app_reload,
        backlog=BACKLOG,
        log_config=logging_config(**_log_options(settings)),
        log_level=None,
        access_log=settings.uvicorn_level in ("DEBUG", "INFO"),
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        **{name: value for name, value in tls.items() if value is not None},
    )


def _log_options(settings: Settings) -> dict[str, Any]:
    return {
        "file": settings.app_log_file,
        "file_level": settings.app_log_file_level,
        "terminal_level": settings.app_std_level,
        "uvicorn_level": settings.uvicorn_level,
        "log_format": settings.log_format,
        "process": "panel",
    }


def _bound(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        # Listening now, not when uvicorn comes to it: of two panels that start at once, one is told here.
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _why_not(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"Port {port} for the panel is taken. End what listens there, or set KODO_APP_SERVER."
    return f"KODO_APP_SERVER: cannot listen on {host} port {port}: {exc.strerror}"


@contextmanager
def _ended_by_signals() -> Generator[None]:
    # uvicorn raises the signal that ended it once more, for whoever was there before. That is us: the end is clean.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
