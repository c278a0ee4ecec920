"""Small facts that every process of the cluster can read: kept by Ray's head, gone with it.

Each call blocks for about a millisecond; call it in a thread from async code. The process must be attached;
``ClusterError`` says that its cluster is gone or doesn't answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..error import ClusterError
from .connection import NAMESPACE
from .watch import GONE, membership

_SPACE = NAMESPACE.encode()

TIMEOUT_S = 10.0
"""Without one a call waits for good for a head that is gone."""


def publish(key: str, value: bytes, *, overwrite: bool = True) -> bool:
    """Keeps a value under a key.

    Args:
        key: any text. value: a few kilobytes at most.
        overwrite: False keeps a value that is there already.

    Returns:
        Whether the key had a value before.
    """
    with _head() as head:
        return bool(head.internal_kv_put(key.encode(), value, overwrite, _SPACE, timeout=TIMEOUT_S) == 0)


def published(key: str) -> bytes | None:
    """The value of a key, or None."""
    with _head() as head:
        value: bytes | None = head.internal_kv_get(key.encode(), _SPACE, timeout=TIMEOUT_S)
    return value


def published_keys(prefix: str) -> list[str]:
    """The keys that begin with a prefix, sorted."""
    with _head() as head:
        return sorted(key.decode() for key in head.internal_kv_keys(prefix.encode(), _SPACE, timeout=TIMEOUT_S))


@contextmanager
def _head() -> Iterator[Any]:
    from ray.exceptions import RpcError
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    with membership.call():
        client = internal_kv_get_gcs_client()
        if client is None:
            raise ClusterError(GONE)
        try:
            yield client
        except (RpcError, TimeoutError) as exc:
            raise ClusterError(f"The Ray cluster does not answer: {exc}") from exc
