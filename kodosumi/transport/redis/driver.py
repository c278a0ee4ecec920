"""The driver, redis-py, and the oldest server it may talk to."""

from __future__ import annotations

import re

from ...error import ConfigurationError

try:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.retry
    import redis.backoff
except ImportError:
    raise ConfigurationError("KODO_EVENT_TRANSPORT=redis: its driver is missing, install `kodosumi[redis]`.") from None

__all__ = ["FAILURES", "OLDEST", "check_version", "is_failure", "redis"]

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError, TimeoutError)
"""What the driver raises when something is wrong with the server or the way to it."""

OLDEST = (6, 2)

_CLOSED = "the handler is closed"
"""What uvloop, the loop of Ray's actors, says of a connection that broke before something was written to it."""


def is_failure(exc: BaseException) -> bool:
    """Whether something is wrong with the server or the way to it, and not with whoever asked."""
    return isinstance(exc, FAILURES) or (isinstance(exc, RuntimeError) and _CLOSED in str(exc))


def check_version(version: str, where: str) -> None:
    """Refuses a server that lacks what the transport needs (XAUTOCLAIM, XTRIM MINID).

    Args:
        version: as the server says, such as ``6.2.5``; Valkey names the Redis it is compatible with.
        where: it is, for the error.

    Raises:
        ConfigurationError: it's too old.
    """
    match = re.match(r"(\d+)(?:\.(\d+))?", version)
    if match and (int(match[1]), int(match[2] or 0)) < OLDEST:
        raise ConfigurationError(
            f"Redis at {where} is version {version}: KODO_EVENT_TRANSPORT=redis needs Redis 6.2 or newer, or Valkey."
        )
