"""The tracer: what an author's code tells its run with, from any thread, loop, process or node.

In the run's own process a call returns when the event is buffered; everywhere else when it's in the transport, so
that a remote task's events are in before its result is. Handing a tracer to a remote task waits for what was told
before, which so comes first. Each call exists twice, for coroutines and, with ``_sync``,
for plain code; both are one implementation.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..error import PayloadTooLarge
from ..events import Event, EventKind
from ..transport import ProducerTicket
from .control import RunControl
from .lock_waiting import NoWaiting, Waiting, WaitingHere, WaitingRemotely, requested
from .mailbox import mailbox_for
from .payload import wrap
from .spec import RunFiles

if TYPE_CHECKING:
    from .files import AsyncFileSystem, SyncFileSystem

logger = logging.getLogger("kodosumi.tracer")


@dataclass(frozen=True, slots=True)
class RunHome:
    """Where a run lives, for those of its tracers that are elsewhere.

    Attributes:
        runner: name of its runner's actor, "" without one.
        files: how to reach its files.
        attempt: which call of the run's code it is.
    """

    runner: str = ""
    files: RunFiles = field(default_factory=RunFiles)
    attempt: int = 1


class Tracer:
    """Emits events of one run. Picklable: hand it to remote tasks, and their events arrive like the run's own.

    Calls are safe from several threads and loops at once. After the run's end they log a warning and do nothing.
    While the run is paused, calls in its own process wait; remote tasks wait at :meth:`checkpoint` and :meth:`lock`.

    Args:
        ticket: of the execution; entry points get their tracer ready made.
        home: where the run lives.

    Attributes:
        fid: the execution's id.
        attempt: which call of the run's code this is: 1, and more after an earlier one failed or was lost.
    """

    fid: str
    attempt: int = 1

    def __init__(
        self, ticket: ProducerTicket, home: RunHome | None = None, *, control: RunControl | None = None
    ) -> None:
        self.fid = ticket.fid
        self._username = ticket.username
        self._home = home or RunHome()
        self.attempt = self._home.attempt
        self._mailbox = mailbox_for(ticket)
        self._max_bytes = ticket.max_event_bytes
        self._control = control or RunControl.of(ticket.fid, self.attempt)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tracer, (self._mailbox.hand_over(lambda: self.cancelled), self._home)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for this run's end, or it has ended: clean up and return."""
        return (self._control is not None and self._control.cancelled) or self._mailbox.closed

    async def checkpoint(self) -> None:
        """Returns at once, or, while the run is paused, when it goes on: for places between expensive steps.

        In a remote task it asks the run's process, which takes about a millisecond; other calls there don't ask.

        Raises:
            CancelledError: the run was asked to end, or has ended.
        """
        self._raise_if_ending()
        outcome = await self._waiting().checkpoint()
        self._raise_if_ending()
        outcome.value()

    def checkpoint_sync(self) -> None:
        """:meth:`checkpoint` for plain code."""
        self._raise_if_ending()
        outcome = self._waiting().checkpoint_sync()
        self._raise_if_ending()
        outcome.value()

    async def debug(self, *lines: str) -> None:
        """Emits plain text, one event, its lines joined by a newline. Raises PayloadTooLarge, like all calls here."""
        await self._put(_text(EventKind.DEBUG, lines))

    def debug_sync(self, *lines: str) -> None:
        """:meth:`debug` for plain code."""
        self._put_sync(_text(EventKind.DEBUG, lines))

    async def result(self, *values: Any) -> None:
        """Emits results, one event per value, serialised as ``docs/reference/payloads.md`` says."""
        await self._put(_wrapped(EventKind.RESULT, values))

    def result_sync(self, *values: Any) -> None:
        """:meth:`result` for plain code."""
        self._put_sync(_wrapped(EventKind.RESULT, values))

    async def action(self, *values: Any) -> None:
        """Emits what an agent did, one event per value, serialised like results."""
        await self._put(_wrapped(EventKind.ACTION, values))

    def action_sync(self, *values: Any) -> None:
        """:meth:`action` for plain code."""
        self._put_sync(_wrapped(EventKind.ACTION, values))

    async def markdown(self, *parts: str) -> None:
        """Emits a Markdown result; parts are joined by a blank line."""
        await self._put(_body("Markdown", "\n\n", parts))

    def markdown_sync(self, *parts: str) -> None:
        """:meth:`markdown` for plain code."""
        self._put_sync(_body("Markdown", "\n\n", parts))

    async def html(self, *lines: str) -> None:
        """Emits an HTML result; lines are joined by a newline. It's sanitised where it is shown."""
        await self._put(_body("HTML", "\n", lines))

    def html_sync(self, *lines: str) -> None:
        """:meth:`html` for plain code."""
        self._put_sync(_body("HTML", "\n", lines))

    async def text(self, *lines: str) -> None:
        """Emits a plain text result; lines are joined by a newline."""
        await self._put(_body("Text", "\n", lines))

    def text_sync(self, *lines: str) -> None:
        """:meth:`text` for plain code."""
        self._put_sync(_body("Text", "\n", lines))

    async def warning(self, *lines: str, exc_info: bool | BaseException = False) -> None:
        """Emits plain text to the run's stderr.

        Args:
            lines: joined by a newline.
            exc_info: append the traceback of the exception being handled (True), or of this exception.
        """
        await self._put(_warning(lines, exc_info))

    def warning_sync(self, *lines: str, exc_info: bool | BaseException = False) -> None:
        """:meth:`warning` for plain code."""
        self._put_sync(_warning(lines, exc_info))

    async def lock(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        *,
        assignee: str | Iterable[str] | None = None,
        four_eyes: bool = False,
    ) -> Any:
        """Waits until somebody has answered; the run is ``awaiting`` meanwhile. Cancelling the call closes the lock.

        Args:
            name: of the app's ``@app.lock`` handler, which makes the form, and ``@app.lease`` handler, if there is one.
            data: for the handlers, which get it as plain JSON values.
            timeout: seconds until the lock expires; ``KODO_LOCK_EXPIRES`` by default.
            assignee: who may answer instead of the run's owner: a role's name, id or e-mail, or a list of them.
                Operators always may.
            four_eyes: whether the run's owner may not, not even as an operator.

        Returns:
            What the lease handler returned, or the form's values where there is no such handler.

        Raises:
            UnknownLock: the app has no lock of this name.
            TimeoutError: nobody has answered in time.
            CancelledError: the run was asked to end.
            PayloadTooLarge: the data are larger than an event may be.
            ValueError: a timeout that isn't positive, an assignee that names nobody.
        """
        request = requested(name, data, timeout, assignee, four_eyes)
        await self._hold()
        outcome = await self._waiting().wait(request)
        await self._hold()  # it may have been answered during a pause
        return outcome.value()

    def lock_sync(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        *,
        assignee: str | Iterable[str] | None = None,
        four_eyes: bool = False,
    ) -> Any:
        """:meth:`lock` for plain code, on any thread; a remote task gives its processors to others meanwhile."""
        request = requested(name, data, timeout, assignee, four_eyes)
        self._hold_sync()
        outcome = self._waiting().wait_sync(request)
        self._hold_sync()
        return outcome.value()

    async def fs(self) -> AsyncFileSystem:
        """The run's files; to be closed, best by ``async with await tracer.fs() as fs``.

        Raises:
            FilesUnavailable: they can't be reached from here; says what to do.
        """
        from .files import open_files

        await self._hold()
        return open_files(self.fid, self._username, self._home.files)

    def fs_sync(self) -> SyncFileSystem:
        """:meth:`fs` for plain code, as in ``with tracer.fs_sync() as fs``."""
        from .files import open_files_sync

        self._hold_sync()
        return open_files_sync(self.fid, self._username, self._home.files)

    async def emit(self, events: Sequence[Event]) -> None:
        """Emits ready made events; for adapters, not for authors."""
        await self._put(events)

    async def _put(self, events: Sequence[Event]) -> None:
        if self._control is not None and self._control.paused:
            await self._control.hold()
        self._check_size(events)
        if not await self._mailbox.post_async(events):
            self._warn(events)

    def _put_sync(self, events: Sequence[Event]) -> None:
        self._hold_sync()
        self._check_size(events)
        if not self._mailbox.post(events):
            self._warn(events)

    async def _hold(self) -> None:
        if self._control is not None and self._control.paused:
            await self._control.hold()

    def _hold_sync(self) -> None:
        control = self._control
        if control is not None and (control.paused or control.cancelled):
            control.hold_sync()

    def _raise_if_ending(self) -> None:
        if self.cancelled:
            if self._control is not None:
                self._control.tell(threading.get_ident())
            raise asyncio.CancelledError("the run was asked to end")

    def _waiting(self) -> Waiting:
        if self._control is not None and self._control.locks is not None:
            return WaitingHere(self._control.locks, self._control)
        return WaitingRemotely(self._home.runner, self.fid, self.attempt) if self._home.runner else NoWaiting()

    def _check_size(self, events: Sequence[Event]) -> None:
        for event in events:
            check_size(event, self._max_bytes)

    def _warn(self, events: Sequence[Event]) -> None:
        kinds = ", ".join(event.kind for event in events)
        logger.warning("run %s is over: %d event(s) dropped (%s)", self.fid, len(events), kinds)


def check_size(event: Event, max_bytes: int) -> None:
    """Refuses what no transport would take.

    Raises:
        PayloadTooLarge: with size and limit.
    """
    if len(event.payload) * 4 <= max_bytes:
        return  # no character takes more than four bytes
    size = len(event.payload.encode("utf-8", "replace"))
    if size > max_bytes:
        raise PayloadTooLarge(event.kind, size, max_bytes)


def _text(kind: EventKind, lines: Sequence[object]) -> list[Event]:
    return [Event.now(kind, "\n".join(map(str, lines)))]


def _wrapped(kind: EventKind, values: Sequence[Any]) -> list[Event]:
    return [Event.now(kind, wrap(value)) for value in values]


def _body(name: str, joint: str, parts: Sequence[object]) -> list[Event]:
    body = {name: {"body": joint.join(map(str, parts))}}
    return [Event.now(EventKind.RESULT, json.dumps(body, ensure_ascii=False))]


def _warning(lines: Sequence[object], exc_info: bool | BaseException) -> list[Event]:
    parts = [*map(str, lines)]
    if exc_info:
        exc = exc_info if isinstance(exc_info, BaseException) else None
        parts.append("".join(traceback.format_exception(exc)) if exc else traceback.format_exc())
    return [Event.now(EventKind.STDERR, "\n".join(parts).rstrip())]
