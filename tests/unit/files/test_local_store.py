"""The contract on a local folder, and what is its own: links, the mark, leftovers of the dead."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.error import BadPath, FileMissing, FilesUnavailable
from kodosumi.files import MARK, part
from kodosumi.files.local import LocalFileStore, marked
from tests.conditions import until
from tests.file_store_contract import MIB, RUN, FileStoreContract, MakeFiles, content_of, got, paths, put, stream_of


class TestLocalFileStore(FileStoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeFiles:
        numbers = itertools.count()
        return lambda: LocalFileStore(tmp_path / str(next(numbers)))


class TestWhereFilesNeedANameFromTheStart(TestLocalFileStore):
    """As on network file systems."""

    @pytest.fixture(autouse=True)
    def named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(part, "_NAMELESS", os.O_WRONLY | os.O_CLOEXEC)
        monkeypatch.delattr(os, "copy_file_range", raising=False)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[LocalFileStore]:
    store = LocalFileStore(tmp_path / "files")
    yield store
    await store.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that no key may reach."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


def place(files: LocalFileStore, key: str) -> Path:
    """Where a key lies."""
    found = files.local(key)
    assert found is not None
    return found


# links and other oddities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["in/link", "in", ""])
async def test_no_link_is_followed_at_any_level(files: LocalFileStore, outside: Path, link: str) -> None:
    at = place(files, f"{RUN}/{link}".rstrip("/"))
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(outside)
    inside = f"{RUN}/{link}/secret".replace("//", "/")
    with pytest.raises(FileMissing):
        await files.info(inside)
    with pytest.raises(FileMissing):
        await files.read(inside)
    with pytest.raises(BadPath, match="link"):
        await put(files, inside)
    with pytest.raises(BadPath):
        await put(files, f"{inside}-more/deep")
    assert await files.remove(inside) == 0
    assert await files.list(RUN) == []
    assert await files.remove(RUN) == 0
    assert (outside / "secret").read_text() == "secret" and len(list(outside.iterdir())) == 1
    assert not at.is_symlink()


async def test_a_link_to_a_file_is_no_file_and_is_replaced_by_one(files: LocalFileStore, outside: Path) -> None:
    await put(files, f"{RUN}/in/a")
    place(files, f"{RUN}/in/b").symlink_to(outside / "secret")
    assert await paths(files, RUN) == ["in/a"]
    with pytest.raises(FileMissing):
        await files.read(f"{RUN}/in/b")
    with pytest.raises(FileMissing):
        await files.join(f"{RUN}/in/c", files, [f"{RUN}/in/b"])
    await put(files, f"{RUN}/in/b", b"mine")
    assert await got(files, f"{RUN}/in/b") == b"mine" and (outside / "secret").read_text() == "secret"


async def test_what_is_no_plain_file_is_not_told_and_never_waited_for(files: LocalFileStore) -> None:
    await put(files, f"{RUN}/in/a")
    os.mkfifo(place(files, f"{RUN}/in/pipe"))
    place(files, f"{RUN}/in/empty folder").mkdir()
    (place(files, f"{RUN}/in") / "back\\slash").write_text("x")
    (place(files, f"{RUN}/in") / ".part-0").write_text("half")
    assert await paths(files, RUN) == ["in/a"]
    for name in ("pipe", "empty folder"):
        with pytest.raises(FileMissing):
            await asyncio.wait_for(files.read(f"{RUN}/in/{name}"), 30)
    await put(files, f"{RUN}/in/empty folder")
    assert await files.remove(f"{RUN}/in") == 3
    assert not place(files, RUN).exists()


async def test_the_folder_itself_may_be_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    store = LocalFileStore(tmp_path / "link")
    await put(store, "role/run/in/a")
    assert (outside / "role/run/in/a").exists()
    await store.close()


async def test_a_file_is_no_folder_and_a_folder_no_file(files: LocalFileStore) -> None:
    await put(files, f"{RUN}/in/a/b")
    with pytest.raises(BadPath, match="folder of this name"):
        await put(files, f"{RUN}/in/a")
    with pytest.raises(BadPath, match="is a file"):
        await put(files, f"{RUN}/in/a/b/c")
    assert await paths(files, RUN) == ["in/a/b"]


async def test_what_lies_beside_in_and_out_stays(files: LocalFileStore) -> None:
    await put(files, f"{RUN}/in/a")
    (place(files, RUN) / "sqlite3.db").write_text("events")
    assert await files.remove(f"{RUN}/in") == 1
    assert (place(files, RUN) / "sqlite3.db").read_text() == "events"


# the mark ------------------------------------------------------------------------------------------------------------


async def test_a_folder_is_marked_once_for_all_who_use_it(files: LocalFileStore) -> None:
    folder = place(files, "")
    assert not folder.exists() and not marked(folder, "")
    others = [LocalFileStore(folder) for _ in range(8)]
    found: set[str] = set()
    threads = [threading.Thread(target=lambda store=store: found.add(store.mark())) for store in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (mark,) = found
    assert len(mark) > 30 and files.mark() == mark
    assert [path.name for path in folder.iterdir()] == [MARK]
    assert stat.S_IMODE((folder / MARK).stat().st_mode) == 0o600
    assert marked(folder, mark) and not marked(folder, "other") and not marked(folder / "none", mark)


async def test_a_mark_that_cannot_be_made_says_why(outside: Path) -> None:
    store = LocalFileStore(outside / "secret")
    with pytest.raises(FilesUnavailable, match="secret"):
        store.mark()
    with pytest.raises(FilesUnavailable):
        await store.check()


# trouble -------------------------------------------------------------------------------------------------------------


async def test_a_full_disk_is_said_and_leaves_nothing(files: LocalFileStore) -> None:
    await put(files, f"{RUN}/in/a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, hard))
    try:
        with pytest.raises(FilesUnavailable):
            await files.write(f"{RUN}/in/b", stream_of(*[bytes(MIB)] * 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in place(files, f"{RUN}/in").iterdir()] == ["a"]


@pytest.mark.parametrize("nameless", [True, False])
async def test_what_a_writer_that_died_left_is_not_seen_and_goes_with_the_folder(
    files: LocalFileStore, nameless: bool
) -> None:
    writer = f"""
import asyncio, os, sys
from pathlib import Path
from kodosumi.files import part
if not {nameless}:
    part._NAMELESS = os.O_WRONLY
from kodosumi.files.local import LocalFileStore

async def endless():
    for _ in range(3):
        yield bytes(1_048_576)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(LocalFileStore(Path({str(place(files, ""))!r})).write("{RUN}/in/a", endless()))
"""
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.kill()
    assert len(list(place(files, f"{RUN}/in").iterdir())) == (0 if nameless else 1)
    assert await files.list(RUN) == []
    await put(files, f"{RUN}/in/a")
    assert await files.remove(RUN) == 1 and not place(files, RUN).exists()


async def test_a_file_that_becomes_shorter_while_it_is_read_ends_early(files: LocalFileStore) -> None:
    await put(files, f"{RUN}/in/a", bytes(3 * MIB))
    stream = await files.read(f"{RUN}/in/a")
    first = await stream.__anext__()
    os.truncate(place(files, f"{RUN}/in/a"), MIB + 5)
    assert len(first) + len(await content_of(stream)) == MIB + 5


def own_threads() -> int:
    """How many threads there are that stores made."""
    return sum(thread.name.startswith("kodosumi-files") for thread in threading.enumerate())


async def test_no_descriptor_and_no_thread_is_left(files: LocalFileStore) -> None:
    folder = Path("/proc/self/fd")
    await put(files, f"{RUN}/in/a", bytes(2 * MIB))
    before, threads = len(list(folder.iterdir())), own_threads()
    store = LocalFileStore(place(files, ""))
    for _ in range(5):
        stream = await store.read(f"{RUN}/in/a")
        await stream.__anext__()
        del stream
        reading = asyncio.create_task(got(store, f"{RUN}/in/a"))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(FileMissing):
            await store.join(f"{RUN}/in/b", store, [f"{RUN}/in/a", f"{RUN}/in/none"])
        await store.list(RUN)
    await store.close()
    await until(lambda: len(list(folder.iterdir())) <= before)
    assert own_threads() <= threads
    with pytest.raises(FilesUnavailable, match="closed"):
        await store.list(RUN)
