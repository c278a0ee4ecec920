"""Joining the cluster: every process of ours that isn't a Ray worker goes through :func:`attach`."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..config import Settings
from ..error import ClusterError
from . import watch
from .finding import answers, runs_here
from .head import Head, start_head
from .member import provide_node
from .messages import log_messages
from .watch import membership

NAMESPACE = "kodosumi"
"""Ray namespace of all our named actors."""

RECONNECT_VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"
RECONNECT_S = "4000000"
"""As good as never; Ray counts milliseconds in 32 bits."""

_attaching = threading.Lock()


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster.

    Attributes:
        address: its IP address. alive: whether Ray reaches it. cpus: logical CPUs it offers.
    """

    address: str
    alive: bool
    cpus: float


def attach(settings: Settings, start: bool = False) -> None:
    """Connects this process to Ray; blocks for a second or so. Idempotent and thread-safe.

    A no-op in a process that has Ray already: workers, replicas, drivers.

    Args:
        settings: ``ray_server`` names the cluster; unset: the one that runs on this machine.
        start: where no cluster runs, start one that lives as long as this process.

    Raises:
        ClusterError: there's no cluster, or it can't be joined; says what to do.
    """
    with _attaching:
        if _is_attached():
            return
        address = runs_here(settings)
        if address is None and start:
            address = _own_head(settings)
        if address is None:
            raise ClusterError(
                "No Ray cluster runs on this machine. Start one with `koco start`, or set KODO_RAY_SERVER."
            )
        _join(address)
    take_signals_back()


async def attached(settings: Settings, start: bool = False) -> None:
    """Like :func:`attach`, without holding up the event loop."""
    if not _is_attached():
        # A thread of its own: joining takes a minute when a cluster hangs, and must not use up a shared pool.
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        threading.Thread(target=_attach_for, args=(done, settings, start), name="ray-attach", daemon=True).start()
        await done
        take_signals_back()


def survey() -> list[Node]:
    """The machines of the cluster this process has joined; blocks for a few milliseconds.

    Raises:
        ClusterError: not joined, or the cluster doesn't answer.
    """
    import ray

    try:
        with membership.call():
            nodes = ray.nodes()
    except Exception as exc:
        raise ClusterError(f"The Ray cluster does not answer: {exc}") from exc
    return [
        Node(node["NodeManagerAddress"], bool(node["Alive"]), float(node["Resources"].get("CPU", 0.0)))
        for node in nodes
    ]


def prepare_authentication() -> None:
    """Makes this process show Ray's token wherever there's one.

    A local ``ray.init()`` makes the token and asks for it, but who joins by address doesn't show it by itself.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    from ray._raylet import AuthenticationTokenLoader, Config

    tokens = AuthenticationTokenLoader.instance()
    tokens.reset_cache()
    if tokens.has_token(ignore_auth_mode=True):
        os.environ["RAY_AUTH_MODE"] = "token"
        # Ray read its configuration when it was imported.
        Config.initialize("")


def take_signals_back() -> None:
    """Gives SIGINT and SIGTERM back to whoever had them in this process; needs its main thread, else does nothing.

    Who joins Ray gets a handler of Ray's below Python's, which aborts the process three seconds after a SIGTERM,
    however much it has still to store or to answer.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)
            signal.siginterrupt(number, False)


def _is_attached() -> bool:
    import ray

    return bool(ray.is_initialized()) and not membership.leaving


def _attach_for(done: asyncio.Future[None], settings: Settings, start: bool) -> None:
    error: BaseException | None = None
    try:
        attach(settings, start)
    except Exception as exc:
        error = exc
    try:
        done.get_loop().call_soon_threadsafe(_settle, done, error)
    except RuntimeError:
        logging.getLogger(__name__).debug("whoever wanted to join Ray is gone")


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _own_head(settings: Settings) -> str:
    try:
        head = start_head(settings, dashboard=False)
    except ClusterError:
        # Another process was quicker.
        address = runs_here(settings)
        if address is None:
            raise
        return address
    atexit.register(_end_own, head)
    return head.address


def _end_own(head: Head) -> None:
    """Leaves before it goes, or the process would complain at its end that its cluster is gone."""
    import ray

    ray.shutdown()
    head.stop()


def _join(address: str) -> None:
    import ray
    from ray._private import auto_init_hook

    if not answers(address):
        raise ClusterError(f"Nothing listens at {address}. Check KODO_RAY_SERVER, or start Ray there.")
    prepare_authentication()
    log = logging.getLogger("ray")
    # Ray greets at level INFO, and warns that a thread can't catch SIGTERM, which we want to keep anyway.
    log.setLevel(logging.ERROR)
    # A call on a cluster that was left must fail, not start a Ray of its own.
    auto_init_hook.enable_auto_connect = False
    log_messages()
    try:
        provide_node(address)
        with _outliving_the_head():
            ray.init(address=address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
    except SystemExit as exc:
        raise ClusterError(f"The Ray cluster at {address} does not answer.") from exc
    except ClusterError:
        raise
    except Exception as exc:
        raise ClusterError(f"The Ray cluster at {address} cannot be joined: {exc}") from exc
    finally:
        log.setLevel(logging.WARNING)
    _leave_without_a_pause()
    watch.begin(address, _attaching)


def _leave_without_a_pause() -> None:
    """At the exit of a process Ray first sleeps for half a second, for workers' output, of which we show none."""
    import ray

    # Once, however often a cluster is joined; called before Ray's own, which then finds nothing to do.
    atexit.unregister(ray.shutdown)
    atexit.register(ray.shutdown)


@contextmanager
def _outliving_the_head() -> Iterator[None]:
    """Ray ends a process whose cluster is away for this long; ``watch.py`` leaves it before, in order."""
    from ray._raylet import Config

    if RECONNECT_VARIABLE in os.environ:
        yield
        return
    # Taken back at once: no child of ours, a Ray above all, shall inherit it.
    os.environ[RECONNECT_VARIABLE] = RECONNECT_S
    try:
        # Ray read its configuration when it was imported.
        Config.initialize("")
        yield
    finally:
        os.environ.pop(RECONNECT_VARIABLE)
