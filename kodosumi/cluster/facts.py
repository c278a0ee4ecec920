"""Small facts that every process of the cluster can read: kept by Ray's head, gone with it.

Each call blocks for about a millisecond; call it in a thread from async code. The process must be attached.
"""

from __future__ import annotations

from .connection import NAMESPACE

_SPACE = NAMESPACE.encode()


def publish(key: str, value: bytes, *, overwrite: bool = True) -> bool:
    """Keeps a value under a key.

    Args:
        key: any text. value: a few kilobytes at most.
        overwrite: False keeps a value that is there already.

    Returns:
        Whether the key had a value before.
    """
    from ray.experimental.internal_kv import _internal_kv_put

    return bool(_internal_kv_put(key, value, overwrite=overwrite, namespace=_SPACE))


def published(key: str) -> bytes | None:
    """The value of a key, or None."""
    from ray.experimental.internal_kv import _internal_kv_get

    value: bytes | None = _internal_kv_get(key, namespace=_SPACE)
    return value


def published_keys(prefix: str) -> list[str]:
    """The keys that begin with a prefix, sorted."""
    from ray.experimental.internal_kv import _internal_kv_list

    return sorted(key.decode() for key in _internal_kv_list(prefix, namespace=_SPACE))
