"""The locks of one run: opened by its code, claimed and answered by whoever may, on the runner's control loop.

This is the one authority: a lock has one answer because everything about it happens here, one step after the other.
The store knows locks by their events alone; from those a further attempt of the run gets what it takes over. Who may
answer is not decided here (the panel knows roles), nor what an answer means (the app's handlers). A tracer's side of
it is ``lock_waiting.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import cloudpickle

from ..error import ExecutionClosed, ExecutionNotFound, LockNotFound, LockReleased, PayloadTooLarge, UnknownLock
from ..events import Event, EventKind, parsed_json
from .lock import EarlierLocks, Lock, lock_event
from .lock_types import BUSY, CANCELLED, LockAnswer, LockClaim, LockOutcome, LockRequest, OpenLock
from .mailbox import Mailbox
from .spec import KeptLock
from .tracer import check_size

CLAIM_LIFETIME_S = 60.0
"""A claim whose holder is silent for so long gives way to the next."""

MAX_REMOTE_WAITS = 5_000
"""Calls of remote tasks that one run holds; further ones are told to ask again, so that a cancel gets through."""


class Locks:
    """Lives on the loop that makes it.

    Args:
        fid: of the run. username: role id of its owner.
        mailbox: of the run.
        names: that the app has an ``@app.lock`` for; None: any.
        expires_s: seconds until a lock expires that names no timeout.
        max_bytes: largest payload of one event.
        on_waiting: told when the run's own process begins to wait for a lock, and when it waits for none any more.
        on_change: told when there are other open locks or other waiting than before; not of the end.
        keeps: whether :attr:`kept` is wanted.
    """

    def __init__(
        self,
        fid: str,
        username: str,
        mailbox: Mailbox,
        *,
        names: Collection[str] | None,
        expires_s: float,
        max_bytes: int,
        on_waiting: Callable[[bool], None],
        on_change: Callable[[], None] | None = None,
        keeps: bool = False,
    ) -> None:
        self._fid = fid
        self._username = username
        self._mailbox = mailbox
        self._names = names
        self._expires_s = expires_s
        self._max_bytes = max_bytes
        self._on_waiting = on_waiting
        self._on_change = on_change
        self._keeps = keeps
        self._loop = asyncio.get_running_loop()
        self._locks: dict[str, Lock] = {}
        self._opening: dict[str, asyncio.Task[Any]] = {}
        self._earlier = EarlierLocks()
        self._joined: dict[str, Lock] = {}
        self._remote = 0
        self._own = 0
        self._over = False

    @property
    def taken(self) -> list[str]:
        """The claims whose answers were taken."""
        return [lock.taken for lock in self._locks.values() if lock.taken]

    @property
    def waiting(self) -> bool:
        """Whether the run's own process waits for a lock."""
        return self._own > 0

    @property
    def over(self) -> bool:
        """Whether the run ends, and no lock opens any more."""
        return self._over

    @property
    def open_locks(self) -> tuple[OpenLock, ...]:
        """Those that wait for their answer, oldest first."""
        return tuple(lock.terms for lock in self._locks.values() if not lock.outcome.done())

    @property
    def kept(self) -> tuple[KeptLock, ...]:
        """Those that have their answer, or were open to the end, oldest first: for the next attempt."""
        return tuple(lock.kept for lock in self._locks.values() if lock.kept is not None)

    def reopen(self, kept: Iterable[KeptLock]) -> None:
        """Takes over locks of earlier attempts: open ones can be answered from now on, and expire when they would have.

        A request for the same joins an open one and gets the answer of an answered one, with no event of its own;
        each is given once, in this order. Who asks for more than there are opens new ones.
        """
        for one in kept:
            lock = self._reopened(one)
            self._locks[one.lid] = lock
            self._earlier.add(one, lock)
        if self._locks:
            self._changed()

    # asked for by tracers --------------------------------------------------------------------------------------------

    def submit(self, request: LockRequest) -> Future[LockOutcome]:
        """Opens a lock from any thread of the run's process; cancelling the future withdraws it.

        Raises:
            UnknownLock: the app has none of this name.
        """
        self._check_name(request.name)
        if self._over:
            over: Future[LockOutcome] = Future()
            over.set_result(CANCELLED)
            return over
        return asyncio.run_coroutine_threadsafe(self._wait_here(request), self._loop)

    async def wait_for_remote(self, request: LockRequest) -> LockOutcome:
        """Opens a lock for a remote task, which holds this call; one that comes again joins the lock it opened."""
        if self._remote >= MAX_REMOTE_WAITS or request.lid in self._opening:
            return BUSY
        self._remote += 1
        try:
            self._check_name(request.name)
            outcome = await self._wait(request, own=False)
        except (UnknownLock, PayloadTooLarge) as exc:
            return LockOutcome(error=exc)
        finally:
            self._remote -= 1
        # What the task tells next goes another way: the lease must be in before it.
        with contextlib.suppress(Exception):
            await self._mailbox.shipped()
        return outcome

    def withdraw(self, lid: str) -> None:
        """Closes a lock that nobody waits for any more; no effect on one that has ended."""
        lock = self._joined.get(lid) or self._locks.get(lid)
        if lock is not None and not lock.outcome.done():
            self._tell_end(lock, {"withdrawn": True})
            lock.kept = None
            self._end_lock(lock, CANCELLED)

    async def _wait_here(self, request: LockRequest) -> LockOutcome:
        try:
            return await self._wait(request, own=True)
        except asyncio.CancelledError:
            self.withdraw(request.lid)
            raise

    async def _wait(self, request: LockRequest, *, own: bool) -> LockOutcome:
        known = self._joined.get(request.lid) or self._locks.get(request.lid)
        lock = known or self._join(request, own=own) or await self._open(request, own=own)
        return CANCELLED if lock is None else await asyncio.shield(lock.outcome)

    def _join(self, request: LockRequest, *, own: bool) -> Lock | None:
        """The lock of an earlier attempt that it asks for again, if there is one."""
        lock = None if self._over else self._earlier.find(request)
        if lock is None:
            return None
        self._joined[request.lid] = lock
        if own and not lock.outcome.done():
            lock.own = True
            self._count(lock, 1)
            self._changed()
        return lock

    def _reopened(self, kept: KeptLock) -> Lock:
        terms = OpenLock(self._fid, self._username, kept.lid, kept.name, kept.data, kept.expires)
        left_s = kept.expires - time.time()
        lock = Lock(terms, self._loop.time() + left_s, False, self._loop.create_future())
        lock.kept = kept if self._keeps else None
        if kept.answered:
            lock.outcome.set_result(LockOutcome(result=cloudpickle.dumps(kept.result)))
        else:
            lock.timer = self._loop.call_later(max(0.0, left_s), self._expire_unless_claimed, lock)
        return lock

    async def _open(self, request: LockRequest, *, own: bool) -> Lock | None:
        """A new lock, known as soon as its event is on its way; None when the run is over."""
        timeout_s = self._expires_s if request.timeout_s is None else request.timeout_s
        data = parsed_json(request.data)
        terms = OpenLock(self._fid, self._username, request.lid, request.name, data, time.time() + timeout_s)
        event = lock_event(
            EventKind.LOCK,
            terms,
            data=data,
            expires=terms.expires,
            assignee=None if request.assignee is None else list(request.assignee),
            four_eyes=request.four_eyes,
        )
        check_size(event, self._max_bytes)
        if self._over or not await self._posted(request.lid, event) or self._over:
            return None
        lock = Lock(terms, self._loop.time() + timeout_s, own, self._loop.create_future())
        lock.timer = self._loop.call_later(timeout_s, self._expire_unless_claimed, lock)
        if self._keeps:
            lock.kept = KeptLock(request.lid, request.name, data, terms.expires, request.assignee, request.four_eyes)
        self._locks[request.lid] = lock
        self._count(lock, 1)
        self._changed()
        return lock

    async def _posted(self, lid: str, event: Event) -> bool:
        """Posts, waiting for room; False when the run is over."""
        task = asyncio.current_task()
        assert task is not None
        self._opening[lid] = task
        try:
            return await self._mailbox.post_async([event])
        except asyncio.CancelledError:
            if self._over:
                return False
            raise
        finally:
            del self._opening[lid]

    # asked for by modes ----------------------------------------------------------------------------------------------

    def open_lock(self, lid: str) -> OpenLock:
        """As :meth:`ExecutionMode.lock` says."""
        return self._waiting_lock(lid).terms

    async def claim(self, lid: str, claim: str) -> LockClaim:
        """As :meth:`ExecutionMode.claim_lock` says; the claim's id comes with it, so that asking again is the same."""
        lock = self._waiting_lock(lid)
        if lock.holder != claim:
            if self._loop.time() >= lock.deadline:
                # It's only kept for the claim that came in time.
                raise LockReleased(self._fid, lid)
            if lock.holder:
                await self._turn(lock, claim)
            else:
                self._hold(lock, claim)
        return LockClaim(lock.terms, claim)

    async def settle(self, lid: str, claim: str, answer: LockAnswer | None) -> None:
        """As :meth:`ExecutionMode.settle_lock` says.

        Raises:
            PayloadTooLarge: the answer can't be kept; the claim has ended.
        """
        lock = self._locks.get(lid)
        if lock is None:
            raise LockNotFound(self._fid, lid)
        if answer is None:
            self._give_up(lock, claim)
            return
        if lock.taken != claim:
            self._take(lock, claim, answer)
        try:
            await self._mailbox.shipped()
        except ExecutionClosed as exc:
            raise ExecutionNotFound(self._fid) from exc

    def end(self) -> None:
        """Ends all waiting, because the run ends; idempotent. No lock opens any more."""
        self._over = True
        for task in list(self._opening.values()):
            task.cancel()
        for lock in list(self._locks.values()):
            self._end_lock(lock, CANCELLED)

    # claims ----------------------------------------------------------------------------------------------------------

    def _waiting_lock(self, lid: str) -> Lock:
        if self._over:
            raise ExecutionNotFound(self._fid)
        lock = self._locks.get(lid)
        if lock is None:
            raise LockNotFound(self._fid, lid)
        if lock.outcome.done():
            raise LockReleased(self._fid, lid)
        return lock

    async def _turn(self, lock: Lock, claim: str) -> None:
        """Returns when the claim holds the lock."""
        turn = lock.queue.setdefault(claim, self._loop.create_future())
        try:
            await asyncio.shield(turn)
        except asyncio.CancelledError:
            self._give_up(lock, claim)
            raise

    def _hold(self, lock: Lock, claim: str) -> None:
        lock.holder = claim
        lock.issued.add(claim)
        lock.claim_timer = self._loop.call_later(CLAIM_LIFETIME_S, self._give_up, lock, claim)

    def _give_up(self, lock: Lock, claim: str) -> None:
        """Ends a claim without an answer: whoever waits is next, and what should have expired meanwhile does."""
        turn = lock.queue.pop(claim, None)
        if turn is not None and not turn.done():
            turn.set_exception(LockReleased(self._fid, lock.terms.lid))
            turn.exception()  # its caller may be gone
        if lock.holder != claim or lock.outcome.done():
            return
        lock.holder = ""
        _stop(lock.claim_timer)
        if lock.queue:
            following = next(iter(lock.queue))
            self._hold(lock, following)
            lock.queue.pop(following).set_result(None)
        elif self._loop.time() >= lock.deadline:
            self._expire_unless_claimed(lock)

    def _take(self, lock: Lock, claim: str, answer: LockAnswer) -> None:
        """Takes the answer of a claim, even of one that was too slow, if it is the first."""
        if self._over:
            raise ExecutionNotFound(self._fid)
        if lock.outcome.done() or claim not in lock.issued:
            raise LockReleased(self._fid, lock.terms.lid)
        result = parsed_json(answer.payload)
        try:
            self._tell_end(lock, {"result": result, "by": answer.by, "at": answer.at})
        except PayloadTooLarge:
            self._give_up(lock, claim)
            raise
        lock.taken = claim
        if lock.kept is not None:
            lock.kept = replace(lock.kept, answered=True, result=result)
        self._end_lock(lock, LockOutcome(result=answer.result))

    # ends ------------------------------------------------------------------------------------------------------------

    def _expire_unless_claimed(self, lock: Lock) -> None:
        if lock.holder or lock.outcome.done():
            return
        text = f"Lock {lock.terms.lid} expired: nobody answered {lock.terms.name!r} in time"
        self._tell_end(lock, {"expired": True})
        lock.kept = None
        self._end_lock(lock, LockOutcome(error=TimeoutError(text)))

    def _tell_end(self, lock: Lock, facts: dict[str, Any]) -> None:
        event = lock_event(EventKind.LEASE, lock.terms, **{"result": None, **facts})
        check_size(event, self._max_bytes)
        # Without waiting: there are no more of these than locks, which did wait.
        self._mailbox.post_now([event])

    def _end_lock(self, lock: Lock, outcome: LockOutcome) -> None:
        if lock.outcome.done():
            return
        lock.outcome.set_result(outcome)
        lock.terms = replace(lock.terms, data=None)
        _stop(lock.timer)
        _stop(lock.claim_timer)
        error = ExecutionNotFound(self._fid) if self._over else LockReleased(self._fid, lock.terms.lid)
        for turn in lock.queue.values():
            turn.set_exception(error)
            turn.exception()  # its caller may be gone
        lock.queue.clear()
        self._count(lock, -1)
        self._changed()

    def _count(self, lock: Lock, difference: int) -> None:
        if lock.own:
            before, self._own = self.waiting, self._own + difference
            if before != self.waiting:
                self._on_waiting(self.waiting)

    def _changed(self) -> None:
        # The end is told otherwise; what was open then may be open again for the next attempt.
        if self._on_change is not None and not self._over:
            self._on_change()

    def _check_name(self, name: str) -> None:
        if self._names is not None and name not in self._names:
            known = ", ".join(sorted(self._names)) or "none at all"
            raise UnknownLock(f"The app has no @app.lock({name!r}) handler. Its locks: {known}.")


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
