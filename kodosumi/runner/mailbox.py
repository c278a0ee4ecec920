"""The mailbox: events on their way from user code, in any thread, into the transport.

User code posts and goes on; one thread per process, with a loop of its own, puts everything that has gathered as soon
as the previous put has returned. So a first event leaves at once, and a flood leaves in large batches, however long
the user's code blocks its own thread or loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..error import ExecutionClosed, TransportLost, TransportUnavailable
from ..events import Event
from ..transport import EventProducer, ProducerTicket
from ..transport.ending import told_of_loss
from .gates import AnyGate, Gate, LoopGate, ThreadGate
from .shipping import shipping_loop, spawn, transport_of

logger = logging.getLogger(__name__)

MAX_EVENTS = 5_000
"""Events that may wait here before whoever posts has to wait."""

MAX_BYTES = 16 * 1024 * 1024
"""Characters of payload that may wait here, likewise."""

RETRY_S = 0.5
"""Pause after the transport could not be reached."""


class Mailbox:
    """One execution's events in one process.

    Args:
        ticket: of the execution.
        confirms: whether posting returns only when the events are in the transport (a tracer outside the run's own
            process), or as soon as they're buffered here.

    Attributes:
        before_post: called in the posting thread before anything is buffered; puts what must come first.
    """

    def __init__(self, ticket: ProducerTicket, *, confirms: bool = False) -> None:
        self.fid = ticket.fid
        self.confirms = confirms
        self.before_post: Callable[[], None] | None = None
        self.failure: Exception | None = None
        self.on_failure: Callable[[Exception], None] | None = None
        self._ticket = ticket
        self._lock = threading.Lock()
        self._buffer: list[Event] = []
        self._bytes = 0
        self._posted = 0
        self._shipped = 0
        self._shipping = False
        self._sealed = False
        self._dead = False
        self._gates: list[Gate] = []
        self._pid = os.getpid()
        self._loop = shipping_loop()
        self._held: list[EventProducer] = []
        weakref.finalize(self, _close_later, self._loop, self._held).atexit = False

    @property
    def ticket(self) -> ProducerTicket:
        """What another process needs to post for the same execution."""
        # A copy, as the shipping thread may be closing the producer.
        current = next((producer.ticket for producer in list(self._held)), self._ticket)
        return replace(current, max_event_bytes=self._ticket.max_event_bytes, attempt=self._ticket.attempt)

    def hand_over(self, given_up: Callable[[], bool]) -> ProducerTicket:
        """The ticket for another process, whose events come after all that was posted here.

        Blocks the calling thread until that is in the transport.

        Args:
            given_up: whether not to wait any longer; looked at after each :meth:`wake`.
        """
        if self.before_post is not None:
            self.before_post()
        goal = self._posted
        while (gate := self._unshipped(goal, ThreadGate)) and not given_up():
            gate.wait()
        return self.ticket

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._sealed or self._dead

    @property
    def full(self) -> bool:
        """Whether who posts has to wait."""
        return len(self._buffer) >= MAX_EVENTS or self._bytes >= MAX_BYTES

    def post(self, events: Sequence[Event]) -> bool:
        """Posts from a thread, which waits while the mailbox is full.

        Returns:
            False when the execution is over and the events were dropped.
        """
        taken: list[int] = []
        for gate in self._posting(events, ThreadGate, taken):
            gate.wait()
        return bool(taken)

    async def post_async(self, events: Sequence[Event]) -> bool:
        """Posts from a coroutine, which waits while the mailbox is full without blocking its loop."""
        taken: list[int] = []
        for gate in self._posting(events, LoopGate, taken):
            await gate.wait()
        return bool(taken)

    def post_now(self, events: Sequence[Event]) -> None:
        """Posts without ever waiting: for what a bound elsewhere already limits."""
        with self._lock:
            if not self.closed:
                self._append(events)

    def seal(self, events: Sequence[Event]) -> None:
        """Posts an execution's last events; nothing is taken afterwards. Idempotent: the first call counts."""
        with self._lock:
            if not self.closed:
                self._append(events)
                self._sealed = True
        self.wake()

    def force(self, events: Sequence[Event]) -> None:
        """Posts though nothing is taken from anybody else any more: an end that turned out to be due after the seal."""
        with self._lock:
            if not self._dead:
                self._append(events)

    def wake(self) -> None:
        """Lets everybody who waits look again."""
        with self._lock:
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.open()

    async def shipped(self) -> None:
        """Returns when everything posted so far is in the transport.

        Raises:
            ExecutionClosed: the execution had its end before. Exception: what the transport failed with.
        """
        goal = self._posted
        while gate := self._unshipped(goal, LoopGate):
            await gate.wait()
        if self._dead and self.failure is not None:
            raise self.failure

    async def space(self) -> None:
        """Returns when there is room, or nothing is taken any more."""
        while gate := self._no_room(LoopGate):
            await gate.wait()

    async def close(self) -> None:
        """Releases the producer."""
        with contextlib.suppress(Exception):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_close_all(self._held), self._loop))

    # posting ---------------------------------------------------------------------------------------------------------

    def _posting(self, events: Sequence[Event], new_gate: type[AnyGate], taken: list[int]) -> Iterator[AnyGate]:
        """Yields gates to wait at; fills ``taken`` with the events' number when they were taken."""
        if os.getpid() != self._pid:
            raise RuntimeError("A tracer does not work in a forked process: use spawned processes or Ray tasks.")
        if self.before_post is not None:
            self.before_post()
        while gate := self._accept(events, new_gate, taken):
            yield gate
        while self.confirms and taken and (gate := self._unshipped(taken[0], new_gate)):
            yield gate
        if self.confirms and self._dead:
            taken.clear()

    def _accept(self, events: Sequence[Event], new_gate: type[AnyGate], taken: list[int]) -> AnyGate | None:
        with self._lock:
            if self.closed:
                return None
            if self.full:
                return self._new_gate(new_gate)
            self._append(events)
            taken.append(self._posted)
            return None

    def _unshipped(self, goal: int, new_gate: type[AnyGate]) -> AnyGate | None:
        with self._lock:
            return None if self._dead or self._shipped >= goal else self._new_gate(new_gate)

    def _no_room(self, new_gate: type[AnyGate]) -> AnyGate | None:
        with self._lock:
            return self._new_gate(new_gate) if self.full and not self.closed else None

    def _new_gate(self, new_gate: type[AnyGate]) -> AnyGate:
        gate = new_gate()
        self._gates.append(gate)
        return gate

    def _append(self, events: Sequence[Event]) -> None:
        self._buffer += events
        self._posted += len(events)
        self._bytes += sum(len(event.payload) for event in events)
        if not self._shipping:
            self._shipping = True
            self._loop.call_soon_threadsafe(_spawn, self)

    # shipping, on the shipping loop ----------------------------------------------------------------------------------

    async def ship(self) -> None:
        """Puts what has gathered until nothing is left."""
        while batch := self._take():
            await self._deliver(batch)
            self._shipped += len(batch)
            self.wake()

    def _take(self) -> list[Event]:
        with self._lock:
            batch, self._buffer, self._bytes = self._buffer, [], 0
            self._shipping = bool(batch) and not self._dead
        self.wake()
        return batch if self._shipping else []

    async def _deliver(self, batch: list[Event]) -> None:
        # The end may have been posted before it was known that something is lost.
        batch = told_of_loss(batch) if self.failure is not None else batch
        while True:
            try:
                await self._producer().put(batch)
                return
            except TransportUnavailable as exc:
                logger.debug("%s waits for its transport: %s", self.fid, exc)
                await asyncio.sleep(RETRY_S)
            except TransportLost as exc:
                # The producer is at the new epoch now; what is at hand still goes, and the run's end will say so.
                self._fail(exc)
                batch = told_of_loss(batch)
            except ExecutionClosed as exc:
                self._die(exc)
                return
            except Exception as exc:
                logger.exception("the events of %s cannot be delivered", self.fid)
                self._die(exc)
                return

    def _producer(self) -> EventProducer:
        if not self._held:
            self._held.append(transport_of(self._ticket).producer_from(self._ticket))
        return self._held[0]

    def _die(self, cause: Exception) -> None:
        with self._lock:
            self._dead = True
            self._buffer, self._bytes = [], 0
        self._fail(cause)
        self.wake()

    def _fail(self, cause: Exception) -> None:
        self.failure = cause
        if self.on_failure is not None:
            self.on_failure(cause)


# one mailbox per process, execution and attempt ----------------------------------------------------------------------

_open: weakref.WeakValueDictionary[tuple[str, int | None], Mailbox] = weakref.WeakValueDictionary()
_open_lock = threading.Lock()


def open_mailbox(ticket: ProducerTicket) -> Mailbox:
    """The run's own mailbox, in the process that serves it; to be sealed when the run ends."""
    with _open_lock:
        mailbox = _open[_key(ticket)] = Mailbox(ticket)
        return mailbox


def mailbox_for(ticket: ProducerTicket) -> Mailbox:
    """This process's mailbox of an execution: the run's own, else one that confirms each post."""
    with _open_lock:
        mailbox = _open.get(_key(ticket))
        if mailbox is None or mailbox.closed:
            mailbox = _open[_key(ticket)] = Mailbox(ticket, confirms=True)
        return mailbox


def _key(ticket: ProducerTicket) -> tuple[str, int | None]:
    # A process that serves one attempt after the other, or tasks of both, mustn't tell one in the other's name.
    return ticket.fid, ticket.attempt


def _spawn(mailbox: Mailbox) -> None:
    spawn(mailbox.ship())


def _close_later(loop: asyncio.AbstractEventLoop, held: list[EventProducer]) -> None:
    if held:
        with contextlib.suppress(RuntimeError):  # the loop is closed with its process
            loop.call_soon_threadsafe(lambda: spawn(_close_all(held)))


async def _close_all(held: list[EventProducer]) -> None:
    while held:
        await held.pop().close()
