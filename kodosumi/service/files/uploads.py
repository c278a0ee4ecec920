"""Uploads in progress: chunks in any order, sent again after a break, put together as one file or not at all.

Everything lies in the store of uploads, so any panel process can go on with any upload, also after a restart::

    <role id>/<upload id>/info.json         file name, number of chunks, batch
    <role id>/<upload id>/<chunk number>
    <role id>/<upload id>-done/info.json    what became of it, for whoever lost the answer and asks again

An upload belongs to who began it: their role id is a part of its key, so to everybody else there is none.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...error import FileMissing
from ...files import FileInfo, FileStore
from ..errors import ApiError
from .quota import DONE_SUFFIX, INFO, UploadQuota

MAX_CHUNKS = 1_000_000
FRESH_S = 1.0
"""Seconds in which a process believes what it knows of an upload, also when others write to it."""

_REMEMBERED = 20_000
_PARALLEL = 8
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Upload:
    """What was said when it began.

    Attributes:
        upload_id: 32 hex digits. filename: a safe relative path. total_chunks: 0 for an empty file.
        batch_id: of the uploads that go together.
    """

    upload_id: str
    filename: str
    total_chunks: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be completed, as the client describes it: both sides must agree.

    Attributes:
        upload_id: which. filename: name of the file in the folder, safe.
        total_chunks: of the upload. batch_id: of the upload, None when the client doesn't say.
    """

    upload_id: str
    filename: str
    total_chunks: int
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """A file that is in place.

    Attributes:
        completion_id: the same however often it is asked for. upload_id: what it was. batch_id: likewise.
        filename: in its folder. folder: key of the folder.
    """

    completion_id: str
    upload_id: str
    batch_id: str
    filename: str
    folder: str


@dataclass(slots=True)
class _Known:
    """What this process knows of an upload."""

    upload: Upload
    numbers: set[int] = field(default_factory=set)
    read_at: float = 0.0


class Uploads:
    """The uploads of every user.

    Args:
        store: where chunks are kept. files: where complete files go. quota_bytes: of one user's chunks.
    """

    def __init__(self, store: FileStore, files: FileStore, quota_bytes: int) -> None:
        self._store = store
        self._files = files
        self._quota = UploadQuota(store, quota_bytes)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def begin(self, owner: str, filename: str, total_chunks: int, batch_id: str) -> Upload:
        """A new upload.

        Args:
            owner: role id. filename: a safe relative path. total_chunks: how many will come. batch_id: a safe name.

        Raises:
            ApiError: 413, the user has too many.
        """
        await self._quota.one_more(owner)
        upload = Upload(uuid.uuid4().hex, filename, total_chunks, batch_id)
        folder = _folder(owner, upload.upload_id)
        await self._store.write(f"{folder}/{INFO}", _once(json.dumps(asdict(upload) | {"begun_at": time.time()})))
        self._remember(folder, _Known(upload, set(), time.monotonic()))
        return upload

    async def put(self, owner: str, upload_id: str, number: int, content: bytes) -> int:
        """Keeps a chunk; one of the same number is replaced.

        Returns:
            How many different chunks there are, as far as this process knows (see :data:`FRESH_S`).

        Raises:
            ApiError: 404, no such upload of this user; 400, a number that it can't have; 413, over the quota.
        """
        known = await self._progress(owner, upload_id)
        total = known.upload.total_chunks
        if not 0 <= number <= total or not total:
            raise ApiError(400, f"Chunk {number} is none of the {total} chunks of this upload: they count from 0.")
        async with self._quota.room(owner, f"{upload_id}/{number}", len(content)):
            await self._store.write(f"{_folder(owner, upload_id)}/{number}", _once(content))
        await self._still_there(owner, upload_id, known)
        known.numbers.add(number)
        return len(known.numbers)

    async def state(self, owner: str, upload_id: str) -> tuple[Upload, list[int]]:
        """An upload and the numbers of its chunks that are there, exactly.

        Raises:
            ApiError: 404.
        """
        known = await self._progress(owner, upload_id, fresh_s=0.0)
        return known.upload, sorted(known.numbers)

    async def cancel(self, owner: str, upload_id: str) -> None:
        """Removes an upload with its chunks.

        Raises:
            ApiError: 404.
        """
        await self._progress(owner, upload_id, fresh_s=0.0)
        await self._forget(owner, upload_id)

    async def seal(self, owner: str, wanted: Wanted) -> Upload:
        """Makes sure that an upload has all of its chunks; it stays where it is.

        Raises:
            ApiError: 404, no such upload; 400, it isn't what is wanted, or chunks are missing.
        """
        known = await self._progress(owner, wanted.upload_id, fresh_s=0.0)
        _parts(known, wanted)
        return known.upload

    async def complete(self, owner: str, wanted: Wanted, folder: str) -> Completed:
        """Puts the chunks together as a file; asked for again, the answer is the same.

        Args:
            owner: role id of who began it. wanted: which, and what it should be. folder: key of a folder of files.

        Raises:
            ApiError: 404, no such upload; 400, it isn't what is wanted, or chunks are missing; 409, it is complete
                under another name.
        """
        async with self._lock(_folder(owner, wanted.upload_id)):
            if (done := await self._done(owner, wanted, folder)) is not None:
                return done
            known = await self._progress(owner, wanted.upload_id, fresh_s=0.0)
            return await self._join(owner, wanted, folder, known, _parts(known, wanted))

    async def complete_all(self, owner: str, wanted: Sequence[Wanted], folder: str) -> list[Completed]:
        """As :meth:`complete` for a batch, in its order: nothing is put in place unless all can be.

        Raises:
            ApiError: names those that can't be completed: 404, they are unknown; 400, something else is wrong.
        """
        there = _names_by_folder(await self._store.list(owner))
        gate = asyncio.Semaphore(_PARALLEL)

        async def checked(one: Wanted) -> Completed | tuple[_Known, range] | ApiError:
            async with gate:
                try:
                    if one.upload_id + DONE_SUFFIX in there:
                        return await self._done(owner, one, folder) or _unknown(one.upload_id)
                    known = await self._known_from(owner, one.upload_id, there.get(one.upload_id, set()))
                    return known, _parts(known, one)
                except ApiError as exc:
                    return exc

        async def completed(one: Wanted, ready: Completed | tuple[_Known, range] | ApiError) -> Completed:
            if isinstance(ready, Completed):
                return ready
            if isinstance(ready, ApiError):
                raise ready
            async with gate:
                if not ready[1]:
                    # Without chunks there would be no telling that somebody else was faster.
                    return await self.complete(owner, one, folder)
                async with self._lock(_folder(owner, one.upload_id)):
                    return await self._join(owner, one, folder, *ready)

        found = await asyncio.gather(*map(checked, wanted))
        _refuse(wanted, found)
        results = await asyncio.gather(*map(completed, wanted, found), return_exceptions=True)
        _refuse(wanted, results)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Completed)]

    async def _join(self, owner: str, wanted: Wanted, folder: str, known: _Known, parts: range) -> Completed:
        source = _folder(owner, wanted.upload_id)
        try:
            chunks = [f"{source}/{number}" for number in parts]
            await self._files.join(f"{folder}/{wanted.filename}", self._store, chunks)
        except FileMissing:
            # Another call was faster, or it was cancelled meanwhile.
            if (done := await self._done(owner, wanted, folder)) is not None:
                return done
            raise _unknown(wanted.upload_id) from None
        done = Completed(
            completion_id=uuid.uuid5(uuid.NAMESPACE_URL, f"{source}/{folder}/{wanted.filename}").hex,
            upload_id=wanted.upload_id,
            batch_id=known.upload.batch_id,
            filename=wanted.filename,
            folder=folder,
        )
        # Before the chunks go: whoever asks again finds either them or this.
        await self._store.write(f"{source}{DONE_SUFFIX}/{INFO}", _once(json.dumps(asdict(done))))
        await self._forget(owner, wanted.upload_id)
        return done

    async def _progress(self, owner: str, upload_id: str, fresh_s: float = FRESH_S) -> _Known:
        if not is_id(upload_id):
            raise _unknown(upload_id)
        folder = _folder(owner, upload_id)
        known = self._known.get(folder)
        if known is not None and time.monotonic() - known.read_at < fresh_s:
            return known
        return await self._known_from(owner, upload_id, {file.path for file in await self._store.list(folder)})

    async def _known_from(self, owner: str, upload_id: str, names: set[str]) -> _Known:
        """What is known of an upload whose folder has these files."""
        folder = _folder(owner, upload_id)
        if INFO not in names:
            self._known.pop(folder, None)
            raise _unknown(upload_id)
        known = self._known.get(folder)
        if known is None:
            known = _Known(_upload(await self._read(f"{folder}/{INFO}") or {}, upload_id))
        known.numbers = {int(name) for name in names if name.isdigit()}
        known.read_at = time.monotonic()
        self._remember(folder, known)
        return known

    async def _still_there(self, owner: str, upload_id: str, known: _Known) -> None:
        """Removes what was just written to an upload that was cancelled or completed meanwhile: nobody would."""
        folder = _folder(owner, upload_id)
        if self._known.get(folder) is known:
            return
        try:
            await self._progress(owner, upload_id, fresh_s=0.0)
        except ApiError:
            await self._store.remove(folder)
            raise

    async def _done(self, owner: str, wanted: Wanted, folder: str) -> Completed | None:
        if not is_id(wanted.upload_id):
            return None
        found = await self._read(f"{_folder(owner, wanted.upload_id)}{DONE_SUFFIX}/{INFO}")
        if found is None:
            return None
        done = Completed(**found)
        if (done.folder, done.filename) != (folder, wanted.filename):
            raise ApiError(409, f"Upload {wanted.upload_id} is complete already, as {done.filename}.")
        return done

    async def _read(self, key: str) -> dict[str, Any] | None:
        try:
            stream = await self._store.read(key)
        except FileMissing:
            return None
        content = b"".join([piece async for piece in stream])
        found: dict[str, Any] = json.loads(content)
        return found

    async def _forget(self, owner: str, upload_id: str) -> None:
        self._known.pop(_folder(owner, upload_id), None)
        await self._store.remove(_folder(owner, upload_id))
        self._quota.freed(owner)

    def _remember(self, folder: str, known: _Known) -> None:
        self._known[folder] = known
        self._known.move_to_end(folder)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _lock(self, folder: str) -> asyncio.Lock:
        return self._locks.setdefault(folder, asyncio.Lock())


def is_id(text: str) -> bool:
    """Whether a text looks like the id of an upload or a batch: what we never gave can't become a part of a key."""
    return len(text) == 32 and _HEX.issuperset(text)


def _folder(owner: str, upload_id: str) -> str:
    return f"{owner}/{upload_id}"


def _names_by_folder(files: Sequence[FileInfo]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        found.setdefault(folder, set()).add(name)
    return found


def _upload(found: dict[str, Any], upload_id: str) -> Upload:
    try:
        return Upload(upload_id, found["filename"], found["total_chunks"], found["batch_id"])
    except KeyError:
        raise _unknown(upload_id) from None


def _parts(known: _Known, wanted: Wanted) -> range:
    """The numbers of all chunks, in order.

    Raises:
        ApiError: 400, they aren't all there, or it isn't what is wanted.
    """
    upload, total = known.upload, known.upload.total_chunks
    if wanted.batch_id is not None and wanted.batch_id != upload.batch_id:
        raise ApiError(400, f"{wanted.filename} is no upload of batch {wanted.batch_id[:40]}.")
    if wanted.total_chunks != total:
        raise ApiError(400, f"{wanted.filename} was begun with {total} chunks, not {wanted.total_chunks}.")
    if known.numbers == set(range(total)):
        return range(total)
    if known.numbers == set(range(1, total + 1)):
        # Some clients count from 1.
        return range(1, total + 1)
    missing = sorted(set(range(total)) - known.numbers)
    shown = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
    raise ApiError(
        400,
        f"{wanted.filename} is incomplete: {len(known.numbers)} of {total} chunks are there, missing {shown}."
        if missing
        else f"{wanted.filename} has chunks numbered from 0 and from 1: send the upload again.",
    )


def _refuse(wanted: Sequence[Wanted], results: Sequence[object]) -> None:
    found = [(one, each) for one, each in zip(wanted, results, strict=True) if isinstance(each, ApiError)]
    if not found:
        return
    texts = [f"{one.filename}: {problem.detail}" for one, problem in found[:5]]
    more = f" And {len(found) - 5} more." if len(found) > 5 else ""
    status = 404 if all(problem.status_code == 404 for _, problem in found) else 400
    raise ApiError(status, f"{len(found)} of {len(wanted)} files cannot be completed. {' '.join(texts)}{more}")


def _unknown(upload_id: str) -> ApiError:
    return ApiError(404, f"There is no upload {upload_id[:40]!r} in progress.")


async def _once(content: str | bytes) -> AsyncIterator[bytes]:
    yield content if isinstance(content, bytes) else content.encode()
