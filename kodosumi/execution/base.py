"""The contract of an execution mode: how an accepted launch becomes a run, and how it's steered.

A member of this family is one file: ``direct.py``, ``memory.py`` (in-process, for tests), ``temporal.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from ..runner.lock_types import LockAnswer, LockClaim, OpenLock
from ..runner.spec import AppEnvironment, RunSpec


class ExecutionMode(Protocol):
    """A family member. Any method raises ``LaunchUnavailable`` with the reason when the cluster can't answer now."""

    name: str

    async def launch(self, spec: RunSpec) -> None:
        """Accepts a run: returns once its first events (starting, inputs, meta) are safely in the transport.

        The run may wait for its turn afterwards. On an error nothing was started. Idempotent by ``spec.fid``.

        Raises:
            LaunchUnavailable: it could not be kept, with the reason.
            BadInputs, BadEntryPoint: it never can.
        """
        ...

    async def cancel(self, fid: str, by: str) -> bool:
        """Asks a run to end, in the name of ``by``; returns once its terminal event is in the transport.

        User code gets ``CancelledError`` and five seconds; then its process is killed. False: no such living run.
        """
        ...

    async def pause(self, fid: str, by: str) -> bool:
        """Has a run wait at its code's next tracer call; returns once status ``paused`` is in the transport.

        A run that waits for its turn, for a lock or for its next attempt is paused too. Paused time isn't running
        time, and takes nobody's place. Idempotent. False: no such living run.
        """
        ...

    async def resume(self, fid: str, by: str) -> bool:
        """Lets a paused run go on; returns once its status is in the transport.

        That is ``running``, or ``starting`` of a run that hasn't begun: it waits for its turn again. Idempotent: a run
        that isn't paused is left as it is. False: no such living run.
        """
        ...

    async def lock(self, fid: str, lid: str) -> OpenLock:
        """A lock that waits for its answer.

        Raises:
            ExecutionNotFound: no such living run here. LockNotFound: it never had that lock.
            LockReleased: the lock has its answer, or has expired.
        """
        ...

    async def claim_lock(self, fid: str, lid: str) -> LockClaim:
        """Begins to answer a lock: nobody else's answer is worked on until :meth:`settle_lock`.

        Waits while another claim is held; a claim whose holder doesn't settle it ends after a minute. A claim made
        before the lock's expiry keeps it from expiring.

        Raises:
            As :meth:`lock`: a second answer finds the lock released.
        """
        ...

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        """Ends a claim: with the answer, which user code gets at once, or with None, and the lock stays open.

        Returns when the ``lease`` event is safely in the transport. Idempotent by claim.

        Raises:
            LockReleased: the claim had ended, and another answer was taken or the lock expired.
            ExecutionNotFound: the run is over.
            PayloadTooLarge: the answer is larger than an event may be; the claim has ended, the lock stays open.
        """
        ...

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        """Those of ``fids`` that run or wait here, or whose terminal event isn't yet in the transport."""
        ...

    async def places(self) -> Mapping[str, int]:
        """Place in the queue (1 is next) of each waiting run."""
        ...

    async def configure(self) -> None:
        """Makes this process's settings (limits, transport) the cluster's; the spooler calls it."""
        ...

    async def refuse(self, reason: str | None) -> None:
        """Refuses launches for the next seconds because nothing can be kept; None takes them again."""
        ...

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Makes ready what an app's next run needs, and keeps it so for ``wanted_s`` seconds."""
        ...

    async def figures(self) -> Mapping[str, int]:
        """Counts for health: ``waiting`` and ``running`` runs, processes by state."""
        ...

    async def restarted(self) -> None:
        """Returns when whatever keeps the runs has died or restarted, so that ``known`` must be asked anew."""
        ...

    async def close(self) -> None:
        """Closes this process's connections; runs go on. Idempotent."""
        ...
