"""The way to Temporal: its client made from the settings, and what is said when it isn't there.

Also what a workflow shows of itself on Temporal's pages: never what a user or a launch has said.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ..config import Settings
from ..error import ConfigurationError, LaunchUnavailable
from ..runner.spec import RunSpec

try:
    from temporalio.client import Client
    from temporalio.service import RetryConfig, RPCError, RPCStatusCode, TLSConfig
except ImportError:
    raise ConfigurationError(
        "KODO_EXECUTION_MODE=temporal: its client is missing, install `kodosumi[temporal]`."
    ) from None

__all__ = [
    "CALL_TIMEOUT_S",
    "FAILURES",
    "Client",
    "RPCError",
    "RPCStatusCode",
    "attributes_of",
    "connect",
    "flow_of",
    "is_open",
    "pollers",
    "refused",
    "unavailable",
]

RETRY = RetryConfig(max_elapsed_time_millis=3_000, max_retries=5)
"""A call that can't be answered fails while whoever made it still waits."""

CALL_TIMEOUT_S = 10.0
ALIVE_S = 90.0
"""A worker asks for work once a minute at least."""

MAX_FLOW = 200

FAILURES = (RPCError, RuntimeError)
"""What the client raises; ``RuntimeError`` when it can't connect for the first time."""

REFUSALS = frozenset({RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED})


async def connect(settings: Settings, *, lazy: bool = True) -> Client:
    """A client for the settings' Temporal.

    Args:
        lazy: it connects with its first call; else now.

    Raises:
        ConfigurationError: a certificate can't be read. RPCError, RuntimeError: it can't be reached (not lazy).
    """
    return await Client.connect(
        settings.temporal_host,
        namespace=settings.temporal_namespace,
        api_key=settings.temporal_api_key,
        tls=_tls(settings),
        retry_config=RETRY,
        lazy=lazy,
    )


def unavailable(settings: Settings, exc: BaseException) -> LaunchUnavailable:
    """What a failure of a call means for whoever made it."""
    return LaunchUnavailable(f"Temporal at {settings.temporal_host} cannot be used now: {_reason(exc)}. Try again.")


def refused(settings: Settings, exc: BaseException) -> ConfigurationError | None:
    """What is wrong with the settings, when a failure says that waiting won't mend it; else None."""
    if isinstance(exc, RPCError):
        if exc.status in REFUSALS:
            return ConfigurationError(
                f"Temporal at {settings.temporal_host} refuses this client: {exc.message}. "
                "Check KODO_TEMPORAL_API_KEY, KODO_TEMPORAL_TLS_CERT and KODO_TEMPORAL_NAMESPACE."
            )
        if exc.status == RPCStatusCode.NOT_FOUND:
            return ConfigurationError(
                f"KODO_TEMPORAL_NAMESPACE={settings.temporal_namespace!r}: Temporal at {settings.temporal_host} has no "
                "such namespace."
            )
    return None


def flow_of(spec: RunSpec) -> str:
    """A name for Temporal's pages: what runs, never what a launch said of itself, which may hold a user's words."""
    try:
        name = json.loads(spec.meta_payload)["dict"]["entry_point"]
    except (ValueError, KeyError, TypeError):
        name = spec.entry_point if isinstance(spec.entry_point, str) else spec.environment.app
    return str(name).encode()[:MAX_FLOW].decode(errors="ignore")


def attributes_of(spec: RunSpec, flow: str) -> Any:
    """What a workflow can be found by in Temporal."""
    from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

    from ..workflows import FID, FLOW, USER

    values = {FID: spec.fid, USER: spec.username, FLOW: flow}
    return TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(name), value) for name, value in values.items()]
    )


async def pollers(client: Client, settings: Settings) -> list[tuple[str, float]]:
    """Name and last access (seconds since the epoch) of each living worker of the settings' task queue.

    Raises:
        RPCError: Temporal can't be asked.
    """
    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=settings.temporal_task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
    )
    found = sorted((poller.identity, poller.last_access_time.ToMilliseconds() / 1000) for poller in answer.pollers)
    return [(name, at) for name, at in found if time.time() - at < ALIVE_S]


def is_open(described: Any) -> bool:
    """Whether a workflow that was described hasn't ended."""
    from temporalio.client import WorkflowExecutionStatus

    return bool(described.status == WorkflowExecutionStatus.RUNNING)


def _tls(settings: Settings) -> TLSConfig | bool:
    files = (settings.temporal_tls_ca, settings.temporal_tls_cert, settings.temporal_tls_key)
    if (settings.temporal_tls_cert is None) != (settings.temporal_tls_key is None):
        raise ConfigurationError("KODO_TEMPORAL_TLS_CERT and KODO_TEMPORAL_TLS_KEY need each other.")
    if any(files):
        ca, cert, key = map(_read, files, ("TLS_CA", "TLS_CERT", "TLS_KEY"))
        return TLSConfig(server_root_ca_cert=ca, client_cert=cert, client_private_key=key)
    return settings.temporal_tls or settings.temporal_api_key is not None


def _read(path: Path | None, name: str) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"KODO_TEMPORAL_{name}={str(path)!r} cannot be read: {exc.strerror}") from exc


def _reason(exc: BaseException) -> str:
    """The last and plainest of the client's words."""
    if isinstance(exc, RPCError):
        return exc.message or exc.status.name
    text = str(exc)
    return "nothing answers there" if "onnect" in text else text
