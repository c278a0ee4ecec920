"""The spooler: takes events from the transport, commits them to the store, and watches that every run gets its end.

Acknowledge after commit, never before. One execution's trouble never holds up another's; while the store can't be
written nothing is lost: the transport keeps what comes, makes producers wait, and launches are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import schema
from .config import Settings, load_settings
from .error import ExecutionNotFound, LaunchUnavailable, StoreUnavailable, TransportUnavailable
from .events import Batch, Position
from .execution import ExecutionMode, connect_mode
from .log import Troubles, set_fid
from .retention import Retention
from .store import Execution, ExecutionStore, connect_store
from .transport import Delivery, EventConsumer, Transport, connect_transport
from .transport.ending import put_end

if TYPE_CHECKING:
    from .webhook import Sender

logger = logging.getLogger(__name__)

LONG_POLL_S = 20.0
INBOX_FACTOR = 20
"""Events held unstored at most, in batches of ``spooler_batch_size``."""

HEARTBEAT_S = 1.0
"""While nothing is taken for want of room, the transport hears of us this often, so that it keeps our leases."""

RETRY_FIRST_S, RETRY_LAST_S = 0.1, 2.0
RETRY_SICK_S = 30.0
"""Longest pause before an execution is tried again that alone can't be stored (a damaged file, say)."""

CANCEL_AGAIN_S = 1.0

SWEEP_EVERY_S = 4.0
DURABLE_MODE = "temporal"
"""Runs in it are kept in the store and begun again; nobody serves them for a moment in between."""

UNREAD = "the transport cannot be read"
UNACKNOWLEDGED = "the transport does not take acknowledgements"
UNWRITTEN = "the store cannot be written"
UNREACHED = "the execution mode cannot be reached"
UNWATCHED = "lost runs cannot be looked for"
LOST = "RunLost: the process of this run is gone and left no word of its end."


@dataclass(slots=True)
class Inbox:
    """One execution's batches on their way into the store, in order.

    Attributes:
        sick: it alone can't be stored; it doesn't count against the room of the others then.
    """

    username: str
    batches: deque[Batch] = field(default_factory=deque)
    sick: bool = False

    @property
    def events(self) -> int:
        """How many events wait here."""
        return _count(self.batches)


class Spooler:
    """Stores events and ends what has lost its runner.

    Args:
        settings: as loaded. store, transport, mode, retention, sender: ready-made parts; made from the settings by
            default. Without a sender nobody is told of new locks and ended runs.
        sweep_every_s: seconds between two looks for lost runs while nothing gives cause for one.

    Raises:
        ConfigurationError: a part can't be made from the settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: ExecutionStore | None = None,
        transport: Transport | None = None,
        mode: ExecutionMode | None = None,
        retention: Retention | None = None,
        sender: Sender | None = None,
        sweep_every_s: float = SWEEP_EVERY_S,
    ) -> None:
        self._settings = settings
        self._sweep_every_s = sweep_every_s
        self._store = store or connect_store(settings)
        self._sender = sender or _sender(settings, self._store)
        self._transport = transport or connect_transport(settings)
        self._mode = mode or connect_mode(settings)
        self._retention = retention or Retention.from_settings(settings, self._store)
        self._inboxes: dict[str, Inbox] = {}
        self._held = 0
        self._room = asyncio.Event()
        self._committed: dict[str, Position] = {}
        self._to_acknowledge = asyncio.Event()
        self._suspect = asyncio.Event()
        self._troubles = Troubles(logger)
        self._unwritable: str | None = None
        self._durable: set[str] = set()
        self._stopping = asyncio.Event()
        self._writers: set[asyncio.Task[None]] = set()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Works until :meth:`stop`; then stores what it holds and gives the rest back.

        Args:
            ready: called once when the transport has answered for the first time.
        """
        consumer = self._transport.consumer()
        duties = [
            asyncio.create_task(self._take(consumer, ready), name="take"),
            asyncio.create_task(self._acknowledge(consumer), name="acknowledge"),
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._follow_mode(), name="follow mode"),
            asyncio.create_task(self._retention.run(), name="retention"),
        ]
        if self._sender is not None:
            duties.append(asyncio.create_task(self._sender.run(), name="webhook"))
        stop = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([stop, *duties], return_when=asyncio.FIRST_COMPLETED)
            for duty in done - {stop}:
                duty.result()
        finally:
            stop.cancel()
            await self._drain(duties, consumer)

    def stop(self) -> None:
        """Asks :meth:`run` to end in order; callable from a signal handler."""
        self._stopping.set()

    # taking --------------------------------------------------------------------------------------------------------

    async def _take(self, consumer: EventConsumer, ready: Callable[[], None] | None) -> None:
        size = self._settings.spooler_batch_size
        while not self._stopping.is_set():
            await self._until_room(size * INBOX_FACTOR, consumer)
            try:
                deliveries = await consumer.take(size, LONG_POLL_S if ready is None else 0.0)
            except TransportUnavailable as exc:
                self._troubles.begin(UNREAD, exc)
                self._suspect.set()
                await asyncio.sleep(self._settings.spooler_interval)
                continue
            self._troubles.end(UNREAD)
            if ready is not None:
                ready()
                ready = None
            for delivery in deliveries:
                self._receive(delivery)

    async def _until_room(self, limit: int, consumer: EventConsumer) -> None:
        while self._held >= limit:
            self._room.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._room.wait()
            except TimeoutError:
                with contextlib.suppress(TransportUnavailable):
                    await consumer.ack({})

    def _receive(self, delivery: Delivery) -> None:
        inbox = self._inboxes.get(delivery.fid)
        if inbox is None or not inbox.sick:
            self._held += _count(delivery.batches)
        if inbox is not None:
            inbox.batches.extend(delivery.batches)
            return
        self._inboxes[delivery.fid] = Inbox(delivery.username, deque(delivery.batches))
        writer = asyncio.create_task(self._write(delivery.fid), name=f"write {delivery.fid}")
        self._writers.add(writer)
        writer.add_done_callback(self._writers.discard)

    # storing -------------------------------------------------------------------------------------------------------

    async def _write(self, fid: str) -> None:
        """Commits an execution's batches as they come, until none is left."""
        set_fid(fid)  # of this task
        inbox = self._inboxes[fid]
        while inbox.batches:
            batches = _together(inbox.batches, self._settings.spooler_batch_size)
            await self._commit(fid, inbox, batches)
            for _ in batches:
                inbox.batches.popleft()
            self._held -= _count(batches)
            self._room.set()
            self._committed[fid] = batches[-1].position
            self._to_acknowledge.set()
        del self._inboxes[fid]

    async def _commit(self, fid: str, inbox: Inbox, batches: list[Batch]) -> None:
        """Appends, for as long as it takes: what was taken is kept here until the store has it."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                appended = await self._store.append(fid, inbox.username, batches)
            except StoreUnavailable as exc:
                self._report_store(str(exc))
            except Exception:
                # Whatever it is, it concerns this execution alone, and its events must not be given up.
                logger.exception("%s cannot be stored, retrying", fid)
                self._set_aside(inbox)
            else:
                self._report_store(None)
                self._take_up(inbox)
                if appended.refused:
                    logger.warning("%s: %d events after its end were dropped", fid, appended.refused)
                if self._sender is not None and appended.stored:
                    self._sender.stored(batches)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_SICK_S if inbox.sick else RETRY_LAST_S)

    def _set_aside(self, inbox: Inbox) -> None:
        if not inbox.sick:
            inbox.sick = True
            self._held -= inbox.events
            self._room.set()

    def _take_up(self, inbox: Inbox) -> None:
        if inbox.sick:
            inbox.sick = False
            self._held += inbox.events

    def _report_store(self, reason: str | None) -> None:
        if reason is None:
            self._troubles.end(UNWRITTEN)
        else:
            self._troubles.begin(UNWRITTEN, reason)
        changed, self._unwritable = (reason is None) != (self._unwritable is None), reason
        if changed:
            self._suspect.set()

    async def _acknowledge(self, consumer: EventConsumer) -> None:
        """Acknowledges what is committed, all that has gathered at once."""
        while True:
            await self._to_acknowledge.wait()
            self._to_acknowledge.clear()
            positions, self._committed = self._committed, {}
            try:
                await consumer.ack(positions)
            except TransportUnavailable as exc:
                self._troubles.begin(UNACKNOWLEDGED, exc)
                self._committed = positions | self._committed
                await asyncio.sleep(self._settings.spooler_interval)
                self._to_acknowledge.set()
            else:
                self._troubles.end(UNACKNOWLEDGED)

    # watching ------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Looks for lost runs now, whenever something died, and every now and then."""
        while True:
            self._suspect.clear()
            try:
                await self._mode.refuse(self._unwritable)
                await self._sweep()
                self._troubles.end(UNWATCHED)
                pause_s = self._sweep_every_s
            except (LaunchUnavailable, StoreUnavailable) as exc:
                self._troubles.begin(UNWATCHED, exc)
                pause_s = self._settings.spooler_interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._suspect.wait()

    async def _sweep(self) -> None:
        """Ends executions that no one knows any more. What is stored was known before it could be stored."""
        living = await self._store.live()
        if not living:
            return
        known = await self._mode.known([execution.fid for execution in living])
        unknown = [execution for execution in living if execution.fid not in known]
        lost = [execution for execution in unknown if not await self._is_others(execution.fid)]
        await asyncio.gather(*(self._end(execution) for execution in lost))

    async def _is_others(self, fid: str) -> bool:
        """Whether only Temporal can say what becomes of a run, and this process isn't told to ask it."""
        if self._mode.name == DURABLE_MODE:
            return False
        if fid not in self._durable:
            try:
                await self._store.launch(fid)
            except ExecutionNotFound:
                return False
            logger.warning("%s may go on in a further attempt: set KODO_EXECUTION_MODE=temporal for this spooler", fid)
            self._durable.add(fid)
        return True

    async def _end(self, execution: Execution) -> None:
        set_fid(execution.fid)  # of this task
        # Through the transport, so that it lands behind whatever of this run is still on its way.
        producer = self._transport.producer(execution.fid, execution.username)
        try:
            if await put_end(producer, LOST):
                logger.warning("%s was lost and is ended", execution.fid)
        finally:
            await producer.close()

    async def _follow_mode(self) -> None:
        """Makes our settings the cluster's, again after each restart of it, and has lost runs looked for then."""
        while True:
            try:
                await self._mode.configure()
                self._troubles.end(UNREACHED)
                await self._mode.restarted()
            except LaunchUnavailable as exc:
                self._troubles.begin(UNREACHED, exc)
                await asyncio.sleep(self._settings.spooler_interval)
            self._suspect.set()

    # ending --------------------------------------------------------------------------------------------------------

    async def _drain(self, duties: Iterable[asyncio.Task[None]], consumer: EventConsumer) -> None:
        await _cancel(task for task in duties if task.get_name() != "acknowledge")
        if self._unwritable is None and self._writers:
            await asyncio.wait(self._writers)
        await _cancel([*self._writers, *(task for task in duties if task.get_name() == "acknowledge")])
        with contextlib.suppress(TransportUnavailable):
            await consumer.ack(self._committed)
        if self._sender is not None:
            # behind the last commits: they may be what somebody is to be told of
            await self._sender.close()
        await consumer.close()
        await self._transport.close()
        await self._mode.close()
        await self._store.close()


def _sender(settings: Settings, store: ExecutionStore) -> Sender | None:
    if not settings.webhook_url:
        return None
    # an HTTP client takes long to import, and most spoolers need none
    from .webhook import connect_sender

    return connect_sender(settings, store)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    cancelled = list(tasks)
    left = set(cancelled)
    while left:
        # Again and again: a library may lose a cancellation, and this process is to end all the same.
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*cancelled, return_exceptions=True)


def _count(batches: Iterable[Batch]) -> int:
    return sum(len(batch.events) for batch in batches)


def _together(batches: deque[Batch], most: int) -> list[Batch]:
    """The first batches that make up about ``most`` events, one at least."""
    chosen: list[Batch] = []
    events = 0
    for batch in batches:
        events += len(batch.events)
        if chosen and events > most:
            break
        chosen.append(batch)
    return chosen


async def serve(settings: Settings, ready: Callable[[], None] | None = None) -> None:
    """Runs a spooler until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: a setting stops it, or the database's schema is behind; names the remedy.
    """
    await schema.until_current(settings, "execution")
    spooler = Spooler(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, spooler.stop)
    await spooler.run(ready)


def run() -> None:
    """Runs a spooler from the environment; blocks until SIGINT or SIGTERM. Published entry point."""
    asyncio.run(serve(load_settings()))
