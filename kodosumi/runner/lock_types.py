"""What modes, apps and runners say to each other about locks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class OpenLock:
    """A lock that waits for its answer.

    Attributes:
        fid: of the run. username: role id of the run's owner.
        lid: id of the lock (uuid4). name: of its handlers.
        data: what user code gave, as plain JSON values, as in the ``lock`` event.
        expires: when it does, seconds since the epoch.
    """

    fid: str
    username: str
    lid: str
    name: str
    data: Any
    expires: float


@dataclass(frozen=True, slots=True)
class LockClaim:
    """The right to answer a lock.

    Attributes:
        lock: which. id: of the claim, for ``settle_lock``.
    """

    lock: OpenLock
    id: str


@dataclass(frozen=True, slots=True)
class LockAnswer:
    """An answer.

    Attributes:
        result: what ``tracer.lock`` returns, cloudpickled; unpickled on user code's thread.
        payload: the same as plain JSON text, for the ``lease`` event.
        by: role id of who answered, ``_annon_`` without a panel.
        at: when, seconds since the epoch.
    """

    result: bytes
    payload: str
    by: str
    at: float
