"""The open locks of a run that no process serves: kept in the pool until its next attempt begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..transport import ProducerTicket
from .lock_types import LockAnswer, LockClaim, OpenLock
from .locks import Locks
from .mailbox import Mailbox
from .spec import KeptLock

CLOSE_TIMEOUT_S = 10.0


class KeptLocks:
    """Open locks that are answered as ever, though the process that opened them is gone. Lives on its maker's loop.

    Args:
        fid: of the run. username: role id of its owner.
        ticket: of no attempt, so that an answer is taken whatever the next attempt has put already.
        locks: the open ones.
    """

    def __init__(self, fid: str, username: str, ticket: ProducerTicket, locks: Sequence[KeptLock]) -> None:
        self._mailbox = Mailbox(ticket)
        self._lids = {lock.lid for lock in locks}
        self._locks = Locks(
            fid,
            username,
            self._mailbox,
            names=None,
            expires_s=0.0,
            max_bytes=ticket.max_event_bytes,
            on_waiting=lambda _: None,
            keeps=True,
        )
        self._locks.reopen(locks)

    async def lock(self, fid: str, lid: str) -> OpenLock:
        """As :meth:`ExecutionMode.lock` says, like the next two."""
        return self._locks.open_lock(lid)

    async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim:
        return await self._locks.claim(lid, claim)

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        await self._locks.settle(lid, claim, answer)

    def took(self, claim: str) -> bool:
        """Whether it took a claim's answer."""
        return claim in self._locks.taken

    def hand_over(self, kept: Iterable[KeptLock]) -> tuple[KeptLock, ...]:
        """What the next attempt takes over of ``kept``, with what happened here; nothing is answered here any more."""
        self.end()
        now = {lock.lid: lock for lock in self._locks.kept}
        return tuple(_as_now(lock, now.get(lock.lid)) for lock in kept if lock.lid in now or lock.lid not in self._lids)

    def end(self) -> None:
        """Ends all claims; idempotent."""
        self._locks.end()

    async def close(self) -> None:
        """Returns when what was answered here is in the transport, or can't get there."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._mailbox.shipped()
        await self._mailbox.close()


def _as_now(lock: KeptLock, now: KeptLock | None) -> KeptLock:
    return replace(lock, answered=True, result=now.result) if now is not None and now.answered else lock


def kept_of(locks: Iterable[OpenLock]) -> tuple[KeptLock, ...]:
    """Open locks as :class:`KeptLocks` takes them."""
    return tuple(KeptLock(lock.lid, lock.name, lock.data, lock.expires) for lock in locks)
