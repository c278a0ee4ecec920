"""`koco temporal-worker`: looks after durable runs. Any number may run; each takes what Temporal gives it.

It outlives the absence of Temporal, Ray, the store and the transport. When it is asked to end it leaves its runs, which
go on in their own processes, to the next worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

# First, since it says what is missing.
from .execution import temporal_client

# isort: split
from . import schema
from .activities import HEARTBEAT_S, AgentActivities
from .config import Settings, load_settings
from .execution.direct import DirectMode
from .execution.temporal_client import FAILURES, Client
from .log import setup_logging
from .workflows import FID, FLOW, USER, AgentWorkflow

logger = logging.getLogger(__name__)

RETRY_S = 2.0
SHORT_ACTIVITIES = 50
"""Places beside those of runs, so that a full worker still passes on what users wish."""


class TemporalWorker:
    """Serves the settings' task queue.

    Args:
        settings: as loaded. activities: ready-made; made from the settings by default.
    """

    def __init__(self, settings: Settings, activities: AgentActivities | None = None) -> None:
        self._settings = settings
        self._direct = DirectMode(settings)
        self._activities = activities or AgentActivities.from_settings(settings, self._direct)
        self._stopping = asyncio.Event()
        self._reaching: asyncio.Task[None] | None = None

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Works until :meth:`stop`.

        Args:
            ready: called when it begins to take runs, and when Temporal is away at the start and it waits.

        Raises:
            ConfigurationError: Temporal refuses this client, or doesn't know the namespace.
        """
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                try:
                    await self._serve(stopped, ready)
                except FAILURES as exc:
                    if (refusal := temporal_client.refused(self._settings, exc)) is not None:
                        raise refusal from exc
                    logger.warning("%s", temporal_client.unavailable(self._settings, exc))
                    if ready is not None:
                        ready()
                    await asyncio.wait([stopped], timeout=RETRY_S)
        finally:
            tasks = [stopped] if self._reaching is None else [stopped, self._reaching]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._activities.close()
            await self._direct.close()

    def stop(self) -> None:
        """Asks :meth:`run` to end in order; callable from a signal handler."""
        self._stopping.set()

    async def _serve(self, stopped: asyncio.Task[bool], ready: Callable[[], None] | None) -> None:
        client = await temporal_client.connect(self._settings, lazy=False)
        await _check_namespace(client)
        await _add_attributes(client)
        worker = self._worker(client)
        running = asyncio.create_task(worker.run())
        if self._reaching is None:
            # Not before: joining Ray takes seconds of what the start of a worker needs.
            self._reaching = asyncio.create_task(self._activities.reach_pool(), name="reach pool")
        if ready is not None:
            ready()
        logger.info("serves %s at %s", self._settings.temporal_task_queue, self._settings.temporal_host)
        await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await worker.shutdown()
        await running

    def _worker(self, client: Client) -> Any:
        from temporalio.worker import Worker
        from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

        ours = SandboxRestrictions.default.with_passthrough_modules("kodosumi")
        return Worker(
            client,
            task_queue=self._settings.temporal_task_queue,
            workflows=[AgentWorkflow],
            activities=self._activities.all,
            workflow_runner=SandboxedWorkflowRunner(ours),
            max_concurrent_activities=self._settings.temporal_max_runs + SHORT_ACTIVITIES,
            max_cached_workflows=self._settings.temporal_max_runs + SHORT_ACTIVITIES,
            # Else heartbeats are held back for four fifths of their timeout.
            max_heartbeat_throttle_interval=timedelta(seconds=HEARTBEAT_S * 0.8),
            graceful_shutdown_timeout=timedelta(seconds=self._settings.temporal_drain_timeout),
        )


async def _check_namespace(client: Client) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))


async def _add_attributes(client: Client) -> None:
    """Makes runs findable by id, user and flow, where this client may; otherwise they start without."""
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
    from temporalio.service import RPCError

    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        missing = {name: keyword for name in (FID, USER, FLOW) if name not in known.custom_attributes}
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
            )
    except RPCError as exc:
        logger.info("the search attributes %s, %s, %s cannot be added: %s", FID, USER, FLOW, exc.message)


async def serve(settings: Settings, ready: Callable[[], None] | None = None) -> None:
    """Runs a worker until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: a setting stops it, or the database's schema is behind; names the remedy.
    """
    loop = asyncio.get_running_loop()
    waiting = asyncio.ensure_future(schema.until_current(settings, "execution"))
    _catch_signals(loop, waiting.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
        worker = TemporalWorker(settings)
        _catch_signals(loop, worker.stop)
        await worker.run(ready)


def work_here(settings: Settings, ready: Callable[[], None] | None = None) -> None:
    """Runs a worker in this process until SIGINT or SIGTERM.

    Args:
        settings: as loaded. ready: called when it begins to work.

    Raises:
        ConfigurationError: as :func:`serve`.
    """
    setup_logging(
        settings.temporal_log_file,
        settings.temporal_log_file_level,
        settings.temporal_std_level,
        log_format=settings.log_format,
        process="temporal-worker",
    )
    _forward_log()
    asyncio.run(serve(settings, ready))


def _forward_log() -> None:
    """Brings what Temporal's core says into the process's log, instead of straight to the terminal."""
    from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    forwarding = LogForwardingConfig(logger=logging.getLogger("kodosumi.temporal"))
    lines = LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=lines)), error_if_already_set=False)


def _catch_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def run() -> None:
    """Runs a worker from the environment; blocks until SIGINT or SIGTERM. Published entry point."""
    work_here(load_settings())
