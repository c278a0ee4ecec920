"""Uploads in progress: any order, any break, one file; for who began them, within their quota."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from kodosumi.files import FileInfo, FileStore
from kodosumi.files.local import LocalFileStore
from kodosumi.files.memory import MemoryFileStore
from kodosumi.service.errors import ApiError
from kodosumi.service.files import quota
from kodosumi.service.files.uploads import Upload, Uploads, Wanted

OWNER = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"
FOLDER = f"{OWNER}/65a0000000000000000000aa/in"
QUOTA = 10_000
PARTS = [b"first ", b"second ", b"third"]


@pytest.fixture(params=["local", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(kind: str, folder: Path) -> FileStore:
    return LocalFileStore(folder) if kind == "local" else MemoryFileStore()


@pytest.fixture
async def store(kind: str, tmp_path: Path) -> AsyncIterator[FileStore]:
    store = made(kind, tmp_path / "uploads")
    yield store
    await store.close()


@pytest.fixture
async def files(kind: str, tmp_path: Path) -> AsyncIterator[FileStore]:
    files = made(kind, tmp_path / "execution")
    yield files
    await files.close()


@pytest.fixture
def uploads(store: FileStore, files: FileStore) -> Uploads:
    return Uploads(store, files, QUOTA)


async def begun(uploads: Uploads, name: str = "a.txt", chunks: Sequence[bytes] = PARTS, batch: str = "b") -> Upload:
    """An upload with all of its chunks."""
    upload = await uploads.begin(OWNER, name, len(chunks), batch)
    for number, chunk in enumerate(chunks):
        await uploads.put(OWNER, upload.upload_id, number, chunk)
    return upload


def wanted(upload: Upload) -> Wanted:
    return Wanted(upload.upload_id, upload.filename, upload.total_chunks, upload.batch_id)


async def content_of(files: FileStore, key: str) -> bytes:
    return b"".join([piece async for piece in await files.read(key)])


async def refused(status: int, call: object) -> str:
    with pytest.raises(ApiError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.status_code == status
    return caught.value.detail


async def test_chunks_in_any_order_and_twice_become_the_file(uploads: Uploads, files: FileStore) -> None:
    upload = await uploads.begin(OWNER, "sub/a.txt", 3, "b")
    for number in (2, 0, 2, 1, 0):
        await uploads.put(OWNER, upload.upload_id, number, PARTS[number])
    done = await uploads.complete(OWNER, wanted(upload), FOLDER)
    assert done.filename == "sub/a.txt"
    assert await content_of(files, f"{FOLDER}/sub/a.txt") == b"first second third"


async def test_a_chunk_sent_again_replaces_the_one_before(uploads: Uploads, files: FileStore) -> None:
    upload = await begun(uploads)
    assert await uploads.put(OWNER, upload.upload_id, 0, b"changed ") == 3
    await uploads.complete(OWNER, wanted(upload), FOLDER)
    assert await content_of(files, f"{FOLDER}/a.txt") == b"changed second third"


async def test_chunks_counted_from_one_are_understood(uploads: Uploads, files: FileStore) -> None:
    upload = await uploads.begin(OWNER, "a.txt", 3, "b")
    for number, chunk in enumerate(PARTS, 1):
        await uploads.put(OWNER, upload.upload_id, number, chunk)
    await uploads.complete(OWNER, wanted(upload), FOLDER)
    assert await content_of(files, f"{FOLDER}/a.txt") == b"first second third"


async def test_an_empty_file_has_no_chunks(uploads: Uploads, files: FileStore) -> None:
    upload = await uploads.begin(OWNER, "empty", 0, "b")
    await uploads.complete(OWNER, wanted(upload), FOLDER)
    assert await content_of(files, f"{FOLDER}/empty") == b""


async def test_another_panel_process_goes_on_where_one_ended(
    uploads: Uploads, store: FileStore, files: FileStore
) -> None:
    upload = await uploads.begin(OWNER, "a.txt", 3, "b")
    await uploads.put(OWNER, upload.upload_id, 1, PARTS[1])
    other = Uploads(store, files, QUOTA)
    found, numbers = await other.state(OWNER, upload.upload_id)
    assert (found, numbers) == (upload, [1])
    assert await other.put(OWNER, upload.upload_id, 0, PARTS[0]) == 2
    await other.put(OWNER, upload.upload_id, 2, PARTS[2])
    await uploads.complete(OWNER, wanted(upload), FOLDER)
    assert await content_of(files, f"{FOLDER}/a.txt") == b"first second third"


async def test_completing_again_gives_the_same_answer_and_leaves_the_file_alone(
    uploads: Uploads, store: FileStore, files: FileStore
) -> None:
    upload = await begun(uploads)
    first = await uploads.complete(OWNER, wanted(upload), FOLDER)
    await files.remove(f"{FOLDER}/a.txt")
    assert await uploads.complete(OWNER, wanted(upload), FOLDER) == first
    assert await Uploads(store, files, QUOTA).complete(OWNER, wanted(upload), FOLDER) == first
    assert await files.list(FOLDER) == []
    elsewhere = Wanted(upload.upload_id, "b.txt", 3)
    assert "complete already, as a.txt" in await refused(409, uploads.complete(OWNER, elsewhere, FOLDER))


async def test_completing_at_once_in_two_processes_makes_one_file(
    uploads: Uploads, store: FileStore, files: FileStore
) -> None:
    other = Uploads(store, files, QUOTA)
    for _ in range(20):
        upload = await begun(uploads)
        calls = [each.complete(OWNER, wanted(upload), FOLDER) for each in (uploads, other, uploads, other)]
        done = await asyncio.gather(*calls)
        assert len(set(done)) == 1
        assert await content_of(files, f"{FOLDER}/a.txt") == b"first second third"


class BreaksOff(LocalFileStore):
    """Breaks off before the ``left``-th write: where a process dies."""

    left = 1_000_000

    async def write(self, key: str, content: object) -> FileInfo:
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("died")
        return await super().write(key, content)  # type: ignore[arg-type]


async def test_a_process_that_dies_between_the_file_and_its_note_leaves_what_can_be_completed(
    tmp_path: Path,
) -> None:
    files = LocalFileStore(tmp_path / "execution")
    store = BreaksOff(tmp_path / "uploads")
    uploads = Uploads(store, files, QUOTA)
    upload = await begun(uploads)
    store.left = 0
    with pytest.raises(ConnectionError):
        await uploads.complete(OWNER, wanted(upload), FOLDER)
    store.left = 100
    await Uploads(store, files, QUOTA).complete(OWNER, wanted(upload), FOLDER)
    assert await content_of(files, f"{FOLDER}/a.txt") == b"first second third"
    await store.close()
    await files.close()


async def test_missing_chunks_and_wrong_totals_are_named(uploads: Uploads, files: FileStore) -> None:
    upload = await uploads.begin(OWNER, "a.txt", 3, "b")
    await uploads.put(OWNER, upload.upload_id, 1, b"x")
    detail = await refused(400, uploads.complete(OWNER, wanted(upload), FOLDER))
    assert "1 of 3 chunks are there, missing 0, 2" in detail
    for other in (2, 4):
        await refused(400, uploads.complete(OWNER, Wanted(upload.upload_id, "a.txt", other), FOLDER))
    await refused(400, uploads.complete(OWNER, Wanted(upload.upload_id, "a.txt", 3, "another"), FOLDER))
    await refused(400, uploads.put(OWNER, upload.upload_id, 4, b"x"))
    assert await files.list(FOLDER) == []


async def test_chunks_counted_both_ways_are_not_put_together(uploads: Uploads) -> None:
    upload = await begun(uploads)
    await uploads.put(OWNER, upload.upload_id, 3, b"x")
    assert "from 0 and from 1" in await refused(400, uploads.complete(OWNER, wanted(upload), FOLDER))


async def test_to_everybody_else_there_is_no_such_upload(uploads: Uploads) -> None:
    upload = await begun(uploads)
    await refused(404, uploads.put(OTHER, upload.upload_id, 0, b"x"))
    await refused(404, uploads.state(OTHER, upload.upload_id))
    await refused(404, uploads.cancel(OTHER, upload.upload_id))
    await refused(404, uploads.complete(OTHER, wanted(upload), FOLDER))
    for name in ("0" * 32, "", "..", f"../{OWNER}/{upload.upload_id}", upload.upload_id.upper(), "x" * 32):
        if name != upload.upload_id:
            await refused(404, uploads.state(OWNER, name))


async def test_a_cancelled_upload_is_gone(uploads: Uploads, store: FileStore) -> None:
    upload = await begun(uploads)
    await uploads.cancel(OWNER, upload.upload_id)
    assert await store.list(OWNER) == []
    await refused(404, uploads.put(OWNER, upload.upload_id, 0, b"x"))
    await refused(404, uploads.complete(OWNER, wanted(upload), FOLDER))


async def test_a_chunk_that_comes_while_its_upload_is_cancelled_leaves_nothing(
    uploads: Uploads, store: FileStore
) -> None:
    for _ in range(10):
        upload = await begun(uploads)
        put = uploads.put(OWNER, upload.upload_id, 1, bytes(1_000))
        await asyncio.gather(put, uploads.cancel(OWNER, upload.upload_id), return_exceptions=True)
        assert await store.list(OWNER) == []


async def test_a_batch_completes_whole_or_not_at_all(uploads: Uploads, files: FileStore) -> None:
    whole = [await begun(uploads, f"{number}.txt") for number in range(3)]
    half = await uploads.begin(OWNER, "half.txt", 2, "b")
    all_of_it = [wanted(upload) for upload in (*whole, half)]
    detail = await refused(400, uploads.complete_all(OWNER, all_of_it, FOLDER))
    assert "1 of 4 files" in detail and "half.txt" in detail and "0.txt:" not in detail
    assert await files.list(FOLDER) == []
    for number in range(2):
        await uploads.put(OWNER, half.upload_id, number, b"x")
    first = await uploads.complete_all(OWNER, all_of_it, FOLDER)
    assert [done.filename for done in first] == ["0.txt", "1.txt", "2.txt", "half.txt"]
    assert await uploads.complete_all(OWNER, all_of_it, FOLDER) == first
    await refused(404, uploads.complete_all(OTHER, all_of_it, FOLDER))
    assert await uploads.complete_all(OWNER, [], FOLDER) == []


async def test_nobody_has_more_in_progress_than_the_quota(uploads: Uploads, store: FileStore, files: FileStore) -> None:
    upload = await uploads.begin(OWNER, "a.txt", 4, "b")
    await uploads.put(OWNER, upload.upload_id, 0, bytes(6_000))
    detail = await refused(413, uploads.put(OWNER, upload.upload_id, 1, bytes(4_001)))
    assert "10,000" in detail and "KODO_UPLOAD_QUOTA" in detail
    await refused(413, Uploads(store, files, QUOTA).put(OWNER, upload.upload_id, 1, bytes(4_001)))
    await uploads.put(OWNER, upload.upload_id, 0, bytes(5_000))
    await uploads.put(OWNER, upload.upload_id, 1, bytes(5_000))
    their = await uploads.begin(OTHER, "a.txt", 1, "b")
    await uploads.put(OTHER, their.upload_id, 0, bytes(10_000))
    await uploads.cancel(OWNER, upload.upload_id)
    await begun(uploads, chunks=[bytes(9_000)])


async def test_parallel_chunks_fill_the_quota_exactly(uploads: Uploads) -> None:
    upload = await uploads.begin(OWNER, "a.txt", 20, "b")
    calls = [uploads.put(OWNER, upload.upload_id, number, bytes(1_000)) for number in random.sample(range(20), 20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 10
    assert all(isinstance(result, int) or result.status_code == 413 for result in results)  # type: ignore[union-attr]


async def test_what_is_complete_no_longer_counts(uploads: Uploads) -> None:
    for number in range(3):
        upload = await begun(uploads, f"{number}", chunks=[bytes(8_000)])
        await uploads.complete(OWNER, wanted(upload), FOLDER)


async def test_nobody_has_more_uploads_than_allowed(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "MAX_UPLOADS", 2)
    first = await begun(uploads)
    await begun(uploads)
    await refused(413, uploads.begin(OWNER, "c", 1, "b"))
    await uploads.complete(OWNER, wanted(first), FOLDER)
    await begun(uploads)
