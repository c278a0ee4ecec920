"""The default store: SQLite files under ``KODO_EXEC_DIR``, nothing to install and nothing to run.

Every call works in the store's own few threads, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ...config import Settings
from ...error import ExecutionNotFound, StoreError, StoreUnavailable
from ...events import Batch, EventKind, ExecutionState, StoredEvent, storable
from ..base import Appended, Execution, ExecutionChange, Notice, RemoveFiles, Tally
from .connection import DamagedFile, translated
from .file import ExecutionFile, Record
from .index import Index, Owner
from .keeper import IndexKeeper, remove_folder
from .launches import Launches
from .names import folder_of, is_safe
from .open_files import OpenFiles

Result = TypeVar("Result")

THREADS = 4
_PROBE_BYTES = 131_072
"""About what a new execution takes on disk at first."""

_MAX_ROWS = 100_000


class SqliteExecutionStore:
    """See :class:`~kodosumi.store.base.ExecutionStore`. Making one touches nothing on disk; the first write does.

    Args:
        exec_dir: folder of all executions. notices: note what somebody outside is to be told of.
    """

    def __init__(self, exec_dir: Path, *, notices: bool = False) -> None:
        self._exec_dir = exec_dir.absolute()
        self._files = OpenFiles(self._exec_dir, notices=notices)
        self._keeper = IndexKeeper(self._exec_dir)
        self._launches = Launches(self._exec_dir)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kodosumi-store")

    @classmethod
    def from_settings(cls, settings: Settings) -> SqliteExecutionStore:
        """The store under ``KODO_EXEC_DIR``."""
        return cls(settings.exec_dir, notices=bool(settings.webhook_url))

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        return await self._work(self._append, fid, username, batches)

    async def keep_launch(self, fid: str, username: str, launch: bytes) -> None:
        await self._work(self._launches.keep, fid, launch)

    async def launch(self, fid: str) -> bytes:
        return await self._work(self._launches.read, fid)

    async def drop_launch(self, fid: str) -> None:
        await self._work(self._launches.drop, fid)

    async def drop_lost_launches(self, before: float) -> int:
        return await self._work(self._drop_lost_launches, before)

    async def events(
        self, fid: str, after: int = 0, limit: int = 1000, kinds: Collection[EventKind] | None = None
    ) -> list[StoredEvent]:
        return await self._work(self._in_file, fid, lambda file, seq: file.events(after, seq, limit, kinds))

    async def last_event(self, fid: str, kind: EventKind) -> StoredEvent | None:
        return await self._work(self._in_file, fid, lambda file, seq: file.last_event(kind, seq))

    async def execution(self, fid: str) -> Execution:
        return await self._work(self._execution, fid)

    async def executions(
        self,
        *,
        username: str | None = None,
        query: str = "",
        before: str | None = None,
        after: str | None = None,
        limit: int = 10,
    ) -> list[Execution]:
        user, below, above = _bindable(username), _bindable(before), _bindable(after)
        words, rows = storable(query).casefold(), _rows(limit)
        return await self._work(self._read, lambda index: index.page(user, words, below, above, rows), [])

    async def count(self, *, username: str | None = None) -> int:
        user = _bindable(username)
        return await self._work(self._read, lambda index: index.count(user), 0)

    async def tally(self) -> Tally:
        return await self._work(self._read, lambda index: index.tally(), Tally({}, {}))

    async def changes(
        self, since: float, *, username: str | None = None, query: str = "", limit: int = 100
    ) -> list[ExecutionChange]:
        user, words, rows = _bindable(username), storable(query).casefold(), _rows(limit)
        return await self._work(self._read, lambda index: index.changes(since, user, words, rows), [])

    async def live(self) -> list[Execution]:
        return await self._work(self._read, lambda index: index.live(), [])

    async def archive(self, fid: str) -> None:
        await self._work(self._archive, fid)

    async def purge(self, fid: str) -> None:
        await self._work(self._purge, fid)

    async def expire(self, before: float, limit: int, remove_files: RemoveFiles | None = None) -> int:
        removing = self._keeper.removing()
        alone = await self._work(removing.__enter__)
        try:
            if not alone:
                return 0
            over = await self._work(self._over, before, _rows(limit))
            if remove_files is not None and over:
                gone = await remove_files(over)
                over = [(username, fid) for username, fid in over if fid in gone]
            await self._work(self._purge_all, over)
            return len(over)
        finally:
            await self._work(removing.__exit__, None, None, None)

    async def archived(self, older_than: float) -> list[Execution]:
        return await self._work(self._read, lambda index: index.archived(older_than), [])

    async def notices(self, limit: int, lease_s: float) -> list[Notice]:
        rows = _rows(limit)
        return await self._work(self._read, lambda index: index.claim_notices(rows, lease_s), [])

    async def settle_notice(self, notice: Notice) -> None:
        await self._work(self._settle_notice, notice)

    async def defer_notice(self, notice: Notice, pause_s: float) -> None:
        await self._work(self._read, lambda index: index.defer_notice(notice, pause_s), None)

    async def waiting_notices(self) -> int:
        return await self._work(self._read, lambda index: index.waiting_notices(), 0)

    async def check(self) -> None:
        await self._work(self._check)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    async def _work(self, job: Callable[..., Result], *args: object) -> Result:
        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(job, *args))
        except RuntimeError as exc:
            raise StoreUnavailable("The store is closed.") from exc
        return await future

    # all below runs in the store's threads -------------------------------------------------------------------------

    def _append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        if not (is_safe(fid) and is_safe(username)):
            raise StoreError(f"Execution {fid!r} of {username!r} cannot be stored: these cannot be names of folders.")
        owner = self._write(lambda index: index.owner(fid))
        if owner is not None and owner.purged:
            return Appended(0, 0, 0, owner.state)
        if not batches:
            execution = self._read(lambda index: index.execution(fid), None)
            return Appended(execution.seq, 0, 0, execution.state) if execution else _NOTHING
        if owner is None:
            self._write(lambda index: index.begin(fid, username))
        with self._files.use(owner.username if owner else username, fid) as file:
            appended, record = file.append(batches)
            self._publish(file, record)
        return appended

    def _publish(self, file: ExecutionFile, record: Record) -> None:
        """Tells the index what was committed; said again when the index was replaced meanwhile."""
        current = False
        while file.indexed_version != record.version or not current:
            known = file.indexed_version

            def put(index: Index, known: int = known) -> bool:
                index.put(record, known_version=known)
                return self._keeper.is_current(index)

            current = self._write(put)
            file.indexed_version = record.version if current else -1

    def _in_file(self, fid: str, read: Callable[[ExecutionFile, int], Result]) -> Result:
        """Reads the execution's file up to the last event that the index has.

        The file is committed before the index: without this limit a reader could see an event, even the last one,
        that :meth:`execution` does not know yet.
        """
        owner = self._owner(fid)
        with self._files.use(owner.username, fid) as file:
            return read(file, owner.seq)

    def _execution(self, fid: str) -> Execution:
        self._owner(fid)
        execution = self._read(lambda index: index.execution(fid), None)
        if execution is None:
            raise ExecutionNotFound(fid)
        return execution

    def _owner(self, fid: str) -> Owner:
        owner = self._read(lambda index: index.owner(fid), None) if is_safe(fid) else None
        if owner is None or owner.purged or not owner.known:
            raise ExecutionNotFound(fid)
        return owner

    def _archive(self, fid: str) -> None:
        with self._files.use(self._owner(fid).username, fid) as file:
            self._publish(file, file.archive())

    def _purge(self, fid: str) -> None:
        owner = self._read(lambda index: index.owner(fid), None) if is_safe(fid) else None
        if owner is None or not owner.known:
            return
        if not owner.state.terminal:
            raise StoreError(f"Execution {fid} has not ended: cancel it before it is removed.")
        folder = folder_of(self._exec_dir, owner.username, fid)
        with self._files.use(owner.username, fid) as file, translated(folder):
            if not owner.purged:
                self._write(lambda index: index.mark_purged(fid))
            file.close()
            remove_folder(folder)
        self._launches.drop(fid)
        self._write(lambda index: index.forget_purged())

    def _drop_lost_launches(self, before: float) -> int:
        lost = 0
        for fid in self._launches.kept_before(before):
            owner = self._read(lambda index, fid=fid: index.owner(fid), None)  # type: ignore[misc]
            if owner is None or owner.purged or not owner.known:
                self._launches.drop(fid)
                lost += 1
        return lost

    def _settle_notice(self, notice: Notice) -> None:
        owner = self._read(lambda index: index.owner(notice.fid), None)
        if owner is not None and not owner.purged:
            # held until the index knows, so that no append of ours tells it of the notice again
            with self._files.use(owner.username, notice.fid) as file:
                # one that is damaged for good must not keep the notice for ever
                with contextlib.suppress(DamagedFile):
                    file.settle(notice.seq)
                self._read(lambda index: index.settle_notice(notice), None)
            return
        self._read(lambda index: index.settle_notice(notice), None)

    def _over(self, before: float, limit: int) -> list[tuple[str, str]]:
        """Removes what an interrupted removal left; owners and ids of the executions that may go."""
        left: list[tuple[str, str]] = self._read(lambda index: index.purged(), [])
        for username, fid in left:
            folder = folder_of(self._exec_dir, username, fid)
            if folder.exists():
                with translated(folder):
                    remove_folder(folder)
        over: list[tuple[str, str]] = self._read(lambda index: index.expired(before, limit), [])
        return over

    def _purge_all(self, executions: Sequence[tuple[str, str]]) -> None:
        for _, fid in executions:
            self._purge(fid)

    def _check(self) -> None:
        self._write(lambda index: index.probe())
        with translated(self._exec_dir / "check"), tempfile.TemporaryFile(dir=self._exec_dir) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()

    def _write(self, job: Callable[[Index], Result]) -> Result:
        """Works on the index, which is made when there is none."""
        index = self._keeper.index(create=True)
        assert index is not None
        return self._mended(index, job)

    def _read(self, job: Callable[[Index], Result], otherwise: Result) -> Result:
        """Reads from the index; ``otherwise`` when nothing was ever stored."""
        index = self._keeper.index(create=False)
        return otherwise if index is None else self._mended(index, job)

    def _mended(self, index: Index, job: Callable[[Index], Result]) -> Result:
        try:
            return job(index)
        except DamagedFile as exc:
            if exc.path != index.path:
                raise
            self._keeper.set_aside(index)
            return self._write(job)
        except StoreUnavailable:
            # What was under it may have been set aside by somebody else meanwhile: that isn't trouble with the disk.
            if self._keeper.is_current(index):
                raise
            return self._write(job)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        self._files.close()
        self._keeper.close()


_NOTHING = Appended(0, 0, 0, ExecutionState.STARTING)


def _bindable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _rows(limit: int) -> int:
    return max(0, min(limit, _MAX_ROWS))
