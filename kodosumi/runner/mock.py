"""A tracer that needs neither Ray nor a server: for authors' own tests and for offline runs."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..error import UnknownLock
from ..events import Event, EventKind, new_fid, parsed_json
from ..identity import ANONYMOUS
from .lock_waiting import requested
from .payload import plain
from .spec import RunFiles
from .tracer import RunHome, Tracer


class TracerMock(Tracer):
    """Keeps its events, answers its locks and has files of its own.

    Args:
        fid: an execution id; a fresh one by default.
        answers: what locks return, by name: a value, a callable that makes it from the lock's data, or an exception
            to be raised.
        folder: where files are kept; by default a temporary one, which goes with the mock.
        attempt: which call of the code it is, to see what the code does on a further one.

    Attributes:
        events: what was emitted, in order.
        cancelled: set it to see how code cleans up.
    """

    cancelled: bool = False

    def __init__(
        self,
        fid: str | None = None,
        answers: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        attempt: int = 1,
    ) -> None:
        self.fid = fid or new_fid()
        self.attempt = attempt
        self.events: list[Event] = []
        self.answers = dict(answers or {})
        self._username = ANONYMOUS
        self._home = RunHome()
        self._control = None
        if folder is not None:
            self._home = _home(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return _mock_of, (self.fid, self.events, self.answers, self._home.files.root, self.attempt)

    @property
    def folder(self) -> Path:
        """Where this run's ``in`` and ``out`` lie: put there what the code shall find, look there for what it gave."""
        if not self._home.files.root:
            root = tempfile.mkdtemp(prefix="kodosumi-mock-")
            weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
            self._home = _home(root)
        return Path(self._home.files.root) / self._username / self.fid

    async def checkpoint(self) -> None:
        """Returns at once.

        Raises:
            CancelledError: :attr:`cancelled` was set.
        """
        self.checkpoint_sync()

    def checkpoint_sync(self) -> None:
        """:meth:`checkpoint` for plain code."""
        if self.cancelled:
            raise asyncio.CancelledError("the run was asked to end")

    async def lock(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        *,
        assignee: str | Iterable[str] | None = None,
        four_eyes: bool = False,
    ) -> Any:
        """The prepared answer, at once.

        Raises:
            UnknownLock: none was prepared.
        """
        return self.lock_sync(name, data, timeout, assignee=assignee, four_eyes=four_eyes)

    def lock_sync(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        *,
        assignee: str | Iterable[str] | None = None,
        four_eyes: bool = False,
    ) -> Any:
        """:meth:`lock` for plain code."""
        request = requested(name, data, timeout, assignee, four_eyes)
        if name not in self.answers:
            known = ", ".join(self.answers) or "none at all"
            raise UnknownLock(f"There is no answer for the lock {name!r} in TracerMock(answers=…). Answers: {known}.")
        facts = {"name": name, "lid": request.lid}
        self.events.append(_told(EventKind.LOCK, {**facts, "data": parsed_json(request.data), "expires": None}))
        answer = self.answers[name]
        if callable(answer) and not _is_exception(answer):
            answer = answer(parsed_json(request.data))
        if _is_exception(answer):
            raise answer
        self.events.append(_told(EventKind.LEASE, {**facts, "result": parsed_json(plain(answer))}))
        return answer

    async def fs(self) -> Any:
        _ = self.folder
        return await super().fs()

    def fs_sync(self) -> Any:
        _ = self.folder
        return super().fs_sync()

    async def _put(self, events: Sequence[Event]) -> None:
        self.events += events

    def _put_sync(self, events: Sequence[Event]) -> None:
        self.events += events


def _home(folder: str | Path) -> RunHome:
    return RunHome(files=RunFiles(root=str(Path(folder).absolute())))


def _is_exception(answer: Any) -> bool:
    return isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException))


def _told(kind: EventKind, content: Mapping[str, Any]) -> Event:
    return Event.now(kind, json.dumps({"dict": content}, ensure_ascii=False))


def _mock_of(fid: str, events: list[Event], answers: Mapping[str, Any], root: str, attempt: int) -> TracerMock:
    mock = TracerMock(fid, answers, root or None, attempt)
    mock.events = events
    return mock
