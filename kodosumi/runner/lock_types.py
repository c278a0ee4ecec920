"""What modes, apps, runners and remote tasks say to each other about locks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import cloudpickle


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


@dataclass(frozen=True, slots=True)
class LockRequest:
    """What a tracer asks its run for.

    Attributes:
        lid: id of the new lock; a request that comes again joins the lock it opened.
        name: of its handlers. data: as plain JSON text.
        timeout_s: seconds until it expires; None: as the pool's settings say.
        assignee: who may answer instead of the run's owner (role names, ids or e-mails); None: the owner.
        four_eyes: whether the run's owner may not.
    """

    lid: str
    name: str
    data: str
    timeout_s: float | None = None
    assignee: tuple[str, ...] | None = None
    four_eyes: bool = False


@dataclass(frozen=True, slots=True)
class LockOutcome:
    """How waiting for a lock ended; with nothing set, the run was asked to end, or has ended.

    Errors are values here, so that they come out of a remote call as they went in.

    Attributes:
        result: the answer's, cloudpickled.
        error: what to raise in user code.
        busy: too much waits in the run's process: nothing was opened, ask again.
    """

    result: bytes | None = None
    error: Exception | None = None
    busy: bool = False

    def value(self) -> Any:
        """What ``tracer.lock`` returns.

        Raises:
            Exception: the outcome's error, or what unpickling the answer raises here.
            CancelledError: the run was asked to end.
        """
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise asyncio.CancelledError("the run was asked to end")
        return cloudpickle.loads(self.result)


CANCELLED = LockOutcome()
BUSY = LockOutcome(busy=True)
PASSED = LockOutcome(result=cloudpickle.dumps(None))
"""How waiting at a checkpoint ends when the run goes on."""
