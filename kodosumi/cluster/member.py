"""A node of our own in a cluster elsewhere, for a process on a machine (or in a container) that is none of its nodes.

Ray lets a process in only through a node on the same machine. So who is given the address of a cluster elsewhere
starts one: it offers no CPUs, bears :data:`LABEL`, keeps the actors of ours away, and ends with the process.
"""

from __future__ import annotations

import atexit
import logging

from .finding import is_own_address, split
from .head import Head, start_member

logger = logging.getLogger(__name__)

LABEL = "kodosumi-member"

ON_WORKING_NODES = {LABEL: "!true"}
"""Label selector of actors that need no CPU, and would else be put on a node that ends with somebody's process."""

_own: Head | None = None


def provide_node(address: str) -> None:
    """Sees to it that this machine has a node of the cluster; blocks for some seconds where it starts one.

    Not thread-safe: whoever joins holds a lock.

    Args:
        address: of the cluster's head; of another form than ``host:port`` (``ray://…``): needs no node.

    Raises:
        ClusterError: it didn't start, with the reason.
    """
    global _own
    if _own is not None and _own.alive:
        return
    host, port = split(address)
    if not port or is_own_address(host) or _nodes_here():
        return
    if _own is None:
        atexit.register(_leave)
    logger.info("no node of the cluster at %s runs here, starting one", address)
    _own = start_member(address, {LABEL: "true"})


def end_node() -> None:
    """Ends the node started here, if any; this process must have left the cluster before."""
    global _own
    if _own is not None:
        own, _own = _own, None
        own.stop()


def _nodes_here() -> bool:
    from ray._private.services import find_node_ids

    return bool(find_node_ids())


def _leave() -> None:
    if _own is None:
        return
    import ray

    ray.shutdown()
    end_node()
