"""A pool whose attempts do what a test says, over real transports: for the parts above it, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from kodosumi.error import LaunchUnavailable
from kodosumi.events import Event, EventKind, ExecutionState
from kodosumi.runner.head import head_events
from kodosumi.runner.spec import AttemptEnd, AttemptOutcome, RunSpec
from kodosumi.transport import EventProducer, Transport
from kodosumi.transport.ending import put_end

Play = Callable[["Attempt"], Awaitable[AttemptOutcome]]

TRACEBACK = """Traceback (most recent call last):
  File "agent.py", line 7, in run
    raise Busy("the token is swordfish")
agent.Busy: the token is swordfish
and more of it
"""


class Attempt:
    """One attempt, as its play sees it.

    Attributes:
        spec: what the pool was given. producer: of its events. go: for plays that wait, set by the test.
    """

    def __init__(self, spec: RunSpec, producer: EventProducer) -> None:
        self.spec = spec
        self.producer = producer
        self.go = asyncio.Event()
        self.task: asyncio.Task[AttemptOutcome] | None = None

    async def put(self, kind: EventKind, payload: str) -> None:
        """Puts one event."""
        await self.producer.put([Event.now(kind, payload)])


async def finishes(attempt: Attempt) -> AttemptOutcome:
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    await attempt.put(EventKind.STATUS, ExecutionState.FINISHED)
    return AttemptOutcome(AttemptEnd.OVER, ran_s=0.5)


async def fails(attempt: Attempt) -> AttemptOutcome:
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    await put_end(attempt.producer, TRACEBACK)
    return AttemptOutcome(AttemptEnd.OVER, ran_s=0.5)


async def raises(attempt: Attempt) -> AttemptOutcome:
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    return AttemptOutcome(AttemptEnd.RAISED, TRACEBACK, 0.5)


async def dies(attempt: Attempt) -> AttemptOutcome:
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    return AttemptOutcome(AttemptEnd.DIED, "RunnerDied: the process of this run ended unexpectedly.")


async def waits(attempt: Attempt) -> AttemptOutcome:
    """Runs until the test says so."""
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    await attempt.go.wait()
    await attempt.put(EventKind.STATUS, ExecutionState.FINISHED)
    return AttemptOutcome(AttemptEnd.OVER, ran_s=0.5)


async def dies_when_told(attempt: Attempt) -> AttemptOutcome:
    """Runs until the test has its process die."""
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    await attempt.go.wait()
    return AttemptOutcome(AttemptEnd.DIED, "RunnerDied: the process of this run ended unexpectedly.")


class ScriptedPool:
    """Answers what a ``DirectMode`` answers.

    Args:
        transport: where events go.

    Attributes:
        plays: of the next attempts, in order; then they finish. attempts: all there were, by id and number.
        away: while set, it can't be reached. lost_calls: so many attempts are to be begun that it never hears of.
        announced: runs that it has known from their beginning.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.plays: list[Play] = []
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.away: Exception | None = None
        self.lost_calls = 0
        self.announced: set[str] = set()

    async def announce(self, spec: RunSpec) -> None:
        self._check()
        await self._transport.producer(spec.fid, spec.username).put(head_events(spec))
        self.announced.add(spec.fid)

    async def execute(self, spec: RunSpec, again: bool = False) -> AttemptOutcome | None:
        self._check()
        if self.lost_calls:
            self.lost_calls -= 1
            raise LaunchUnavailable("the call was lost")
        if again and spec.fid not in self.announced:
            return None
        key = spec.fid, spec.attempt.number
        if key not in self.attempts:
            producer = self._transport.producer(spec.fid, spec.username, spec.attempt.number)
            attempt = self.attempts[key] = Attempt(spec, producer)
            play = self.plays.pop(0) if self.plays else finishes
            attempt.task = asyncio.ensure_future(play(attempt))
        outcome = await self.attach(*key)
        assert outcome is not None
        return outcome

    async def attach(self, fid: str, number: int) -> AttemptOutcome | None:
        self._check()
        attempt = self.attempts.get((fid, number))
        if attempt is None:
            return None
        assert attempt.task is not None
        try:
            return await asyncio.shield(attempt.task)
        except asyncio.CancelledError:
            if attempt.task.cancelled():
                return AttemptOutcome(AttemptEnd.OVER, ran_s=0.5)
            raise

    async def cancel(self, fid: str, by: str) -> bool:
        self._check()
        attempt = self._living(fid)
        if attempt is None:
            return False
        await put_end(attempt.producer, f"killed by {by}")
        assert attempt.task is not None
        attempt.task.cancel()
        return True

    async def pause(self, fid: str, by: str, owner: str | None = None) -> bool:
        return await self._say(fid, ExecutionState.PAUSED, owner)

    async def resume(self, fid: str, by: str, owner: str | None = None) -> bool:
        return await self._say(fid, ExecutionState.RUNNING, owner)

    async def end(self, fid: str, username: str, reason: str) -> bool:
        self._check()
        return await put_end(self._transport.producer(fid, username), reason)

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        self._check()
        return frozenset(fid for fid in fids if self._living(fid))

    async def figures(self) -> dict[str, int]:
        self._check()
        return {}

    async def configure(self) -> None: ...

    async def refuse(self, reason: str | None) -> None: ...

    async def restarted(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...

    def _living(self, fid: str) -> Attempt | None:
        living = [attempt for key, attempt in self.attempts.items() if key[0] == fid and not _done(attempt.task)]
        return living[-1] if living else None

    async def _say(self, fid: str, state: ExecutionState, owner: str | None) -> bool:
        self._check()
        attempt = self._living(fid)
        if attempt is not None:
            await attempt.put(EventKind.STATUS, state)
        elif owner is not None:
            await self._transport.producer(fid, owner).put([Event.now(EventKind.STATUS, state)])
        return attempt is not None or owner is not None

    def _check(self) -> None:
        if self.away is not None:
            raise self.away


def _done(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and (task.done() or task.cancelling() > 0)
