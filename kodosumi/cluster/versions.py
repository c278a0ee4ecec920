"""What a cluster says of itself to whoever hasn't joined it: the versions that its processes must all have."""

from __future__ import annotations

import json
from typing import Any

from ..error import ClusterError
from .connection import prepare_authentication
from .finding import split

TIMEOUT_S = 5.0


def versions(address: str) -> tuple[str, str] | None:
    """Ray's and Python's version of a cluster that answers; blocks for some seconds at most.

    Args:
        address: as :func:`~kodosumi.cluster.finding.runs_here` gives it.

    Returns:
        None for an address of another form (``ray://…``), which can't be asked without joining.

    Raises:
        ClusterError: what listens there isn't a Ray, or it doesn't answer.
    """
    if not split(address)[1]:
        return None
    prepare_authentication()
    from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
    from ray._raylet import GcsClient

    try:
        client: Any = GcsClient(address=address)
        told = client.internal_kv_get(b"CLUSTER_METADATA", KV_NAMESPACE_CLUSTER, timeout=TIMEOUT_S)
        facts = json.loads(told)
        return str(facts["ray_version"]), str(facts["python_version"])
    except Exception as exc:
        raise ClusterError(f"The Ray cluster at {address} does not answer: {exc}") from exc
