"""What every file store must keep: one suite, run on each member of ``FILE_STORES`` by a subclass with its fixtures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kodosumi.error import BadPath, FileMissing
from kodosumi.files import FileStore, FileStream

MakeFiles = Callable[[], FileStore]

RUN = "role/6740c8f0a1b2c3d4e5f60718"
MIB = 1_048_576
ODD_NAMES = [
    "plain.txt",
    "two words.txt",
    "ümläut é.txt",
    "%2e%2e%2fetc",
    "100% + a&b=c?d#e.txt",
    "quote'\"<b>.html",
    "[x]{y}^`|~*.bin",
    ".hidden",
    "…dots…",
    "日本語 😀.md",
    "12:30.txt",
    "-rf",
    "x" * 255,
]
LEAVING = ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".", "a/./b", "a\\b", "a\0b", "", "\ud800", "a" * 4_001]

UNCONCERNED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


async def stream_of(*pieces: bytes) -> AsyncIterator[bytes]:
    """Content in these pieces."""
    for piece in pieces:
        yield piece


async def put(store: FileStore, key: str, content: bytes = b"content") -> None:
    """Writes a small file."""
    await store.write(key, stream_of(content))


async def content_of(stream: FileStream) -> bytes:
    """Reads to the end."""
    return b"".join([piece async for piece in stream])


async def got(store: FileStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    """What a file holds."""
    return await content_of(await store.read(key, start, end))


async def paths(store: FileStore, folder: str) -> list[str]:
    """What is listed."""
    return [info.path for info in await store.list(folder)]


class Broken(Exception):
    """What a sender raises in the middle."""


class FileStoreContract:
    """Subclasses give a fixture ``make``: a function that returns an empty store with a storage of its own."""

    @pytest.fixture
    async def files(self, make: MakeFiles) -> AsyncIterator[FileStore]:
        """An empty store."""
        store = make()
        yield store
        await store.close()

    # writing and reading ---------------------------------------------------------------------------------------------

    async def test_what_is_written_is_read_and_described(self, files: FileStore) -> None:
        before = time.time()
        written = await files.write(f"{RUN}/in/a.txt", stream_of(b"one ", b"", b"two"))
        found = await files.info(f"{RUN}/in/a.txt")
        assert found[:2] == written[:2] == ("a.txt", 7) and found.etag == written.etag
        assert before - 5 < found.last_modified < time.time() + 5
        assert '"' not in found.etag and found.etag
        assert await got(files, f"{RUN}/in/a.txt") == b"one two"

    async def test_an_empty_file_is_a_file(self, files: FileStore) -> None:
        assert (await files.write(f"{RUN}/out/none", stream_of())).size == 0
        assert await got(files, f"{RUN}/out/none") == b"" == await got(files, f"{RUN}/out/none", 3, 9)
        assert await paths(files, f"{RUN}/out") == ["none"]

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, 4, b"0123"),
            (3, None, b"3456789"),
            (9, 10, b"9"),
            (4, 4, b""),
            (8, 99, b"89"),
            (10, None, b""),
            (50, 60, b""),
        ],
    )
    async def test_a_range_is_read_and_what_lies_behind_the_end_is_left_out(
        self, files: FileStore, start: int, end: int | None, expected: bytes
    ) -> None:
        await put(files, f"{RUN}/in/digits", b"0123456789")
        stream = await files.read(f"{RUN}/in/digits", start, end)
        assert stream.info.size == 10 and await content_of(stream) == expected

    async def test_a_large_file_goes_through_in_pieces(self, files: FileStore) -> None:
        block = bytes(range(256)) * 1024
        written = await files.write(f"{RUN}/in/large", stream_of(*[block] * 80, b"end"))
        assert written.size == 80 * len(block) + 3
        stream = await files.read(f"{RUN}/in/large")
        total = 0
        async for piece in stream:
            assert 0 < len(piece) <= 12 * MIB
            total += len(piece)
        assert total == written.size
        assert await got(files, f"{RUN}/in/large", written.size - 5) == b"\xfe\xffend"

    async def test_a_file_is_replaced_and_its_etag_changes(self, files: FileStore) -> None:
        await put(files, f"{RUN}/in/a", b"old")
        old = await files.info(f"{RUN}/in/a")
        await put(files, f"{RUN}/in/a", b"new one")
        assert await got(files, f"{RUN}/in/a") == b"new one"
        assert (await files.info(f"{RUN}/in/a")).etag != old.etag
        assert await paths(files, f"{RUN}/in") == ["a"]

    async def test_who_reads_while_a_file_is_replaced_gets_the_old_one_to_its_end(self, files: FileStore) -> None:
        old = b"a" * (3 * MIB)
        await put(files, f"{RUN}/in/a", old)
        stream = await files.read(f"{RUN}/in/a")
        first = await stream.__anext__()
        await put(files, f"{RUN}/in/a", b"b")
        assert first + await content_of(stream) == old
        assert stream.info.size == len(old)

    async def test_a_stream_can_be_given_up_at_any_time(self, files: FileStore) -> None:
        await put(files, f"{RUN}/in/a", b"a" * (2 * MIB))
        stream = await files.read(f"{RUN}/in/a")
        await stream.__anext__()
        await stream.aclose()
        await stream.aclose()
        assert await content_of(stream) == b""
        await (await files.read(f"{RUN}/in/a")).aclose()

    async def test_a_file_that_is_not_there_is_missing_before_the_first_piece(self, files: FileStore) -> None:
        await put(files, f"{RUN}/in/folder/a")
        for key in (f"{RUN}/in/none", f"{RUN}/in/folder", "nobody/none", f"{RUN}/in/folder/a/b"):
            with pytest.raises(FileMissing):
                await files.info(key)
            with pytest.raises(FileMissing):
                await files.read(key)
            with pytest.raises(FileNotFoundError):
                await files.read(key, 2, 4)

    @pytest.mark.parametrize("size", [3, 20 * MIB])
    async def test_what_breaks_in_the_middle_leaves_nothing_and_keeps_what_was(
        self, files: FileStore, size: int
    ) -> None:
        async def breaking() -> AsyncIterator[bytes]:
            for _ in range(max(size // MIB, 1)):
                yield bytes(min(size, MIB))
            raise Broken

        await put(files, f"{RUN}/in/kept", b"old")
        for key in (f"{RUN}/in/kept", f"{RUN}/in/new"):
            with pytest.raises(Broken):
                await files.write(key, breaking())
        assert await paths(files, RUN) == ["in/kept"]
        assert await got(files, f"{RUN}/in/kept") == b"old"

    async def test_a_sender_that_is_cancelled_leaves_nothing(self, files: FileStore) -> None:
        waiting = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(12):
                yield bytes(MIB)
            waiting.set()
            await asyncio.Event().wait()

        writing = asyncio.create_task(files.write(f"{RUN}/in/half", endless()))
        await asyncio.wait_for(waiting.wait(), 30)
        assert await files.list(RUN) == []
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await files.list(RUN) == []

    async def test_of_several_who_write_one_file_at_once_one_wins_as_a_whole(self, files: FileStore) -> None:
        contents = [bytes([number]) * (MIB + number) for number in range(6)]
        await asyncio.gather(*(files.write(f"{RUN}/in/a", stream_of(*[c[:1000], c[1000:]])) for c in contents))
        assert await got(files, f"{RUN}/in/a") in contents

    # joining ---------------------------------------------------------------------------------------------------------

    async def test_parts_are_joined_in_their_order_and_stay(self, files: FileStore, make: MakeFiles) -> None:
        uploads = make()
        parts = [f"role/upload/{number}" for number in range(12)]
        for number, part in enumerate(parts):
            await put(uploads, part, b"%d;" % number)
        joined = await files.join(f"{RUN}/in/sub/whole.txt", uploads, parts)
        expected = b"0;1;2;3;4;5;6;7;8;9;10;11;"
        assert await got(files, f"{RUN}/in/sub/whole.txt") == expected
        assert joined[:2] == ("whole.txt", len(expected))
        assert await files.info(f"{RUN}/in/sub/whole.txt") == joined._replace(
            last_modified=(await files.info(f"{RUN}/in/sub/whole.txt")).last_modified
        )
        assert len(await uploads.list("role/upload")) == 12
        await uploads.close()

    @pytest.mark.parametrize("count", [0, 1])
    async def test_no_part_gives_an_empty_file_and_one_part_a_copy(self, files: FileStore, count: int) -> None:
        await put(files, "role/upload/0", b"part")
        await files.join(f"{RUN}/in/a", files, ["role/upload/0"][:count])
        assert await got(files, f"{RUN}/in/a") == b"part" * count
        # another chunk sent in its place changes nothing
        await put(files, "role/upload/0", b"other")
        assert await got(files, f"{RUN}/in/a") == b"part" * count

    async def test_a_part_that_is_missing_leaves_nothing(self, files: FileStore) -> None:
        await put(files, "role/upload/0", b"part")
        for parts in (["role/upload/0", "role/upload/1"], ["role/upload/1"], ["role/upload"]):
            with pytest.raises(FileMissing):
                await files.join(f"{RUN}/in/a", files, parts)
        assert await files.list(RUN) == []

    # listing ---------------------------------------------------------------------------------------------------------

    async def test_all_files_below_a_folder_are_listed_in_order_of_their_paths(self, files: FileStore) -> None:
        for path in ("b", "a/z", "a/b/c", "a-", "ä"):
            await put(files, f"{RUN}/in/{path}")
        await put(files, f"{RUN}/input/no")
        await put(files, f"{RUN}/out/no")
        await put(files, "other/6740c8f0a1b2c3d4e5f60718/in/no")
        assert await paths(files, f"{RUN}/in") == ["a-", "a/b/c", "a/z", "b", "ä"]
        assert await paths(files, f"{RUN}/in/a") == ["b/c", "z"]
        assert await paths(files, RUN) == sorted(["in/a-", "in/a/b/c", "in/a/z", "in/b", "in/ä", "input/no", "out/no"])
        assert [path for path in await paths(files, "") if path.startswith("other/")] == [
            "other/6740c8f0a1b2c3d4e5f60718/in/no"
        ]
        (b,) = [info for info in await files.list(f"{RUN}/in") if info.path == "b"]
        assert b[1:] == (await files.info(f"{RUN}/in/b"))[1:]

    async def test_what_is_not_there_or_no_folder_lists_as_nothing(self, files: FileStore) -> None:
        assert await files.list("") == [] == await files.list(f"{RUN}/in")
        await put(files, f"{RUN}/in/a")
        assert await files.list(f"{RUN}/in/a") == [] == await files.list(f"{RUN}/i")

    # removing --------------------------------------------------------------------------------------------------------

    async def test_a_file_or_a_folder_with_all_in_it_is_removed_and_counted(self, files: FileStore) -> None:
        for path in ("in/a", "in/ab", "in/sub/b", "in/sub/deep/c", "out/d"):
            await put(files, f"{RUN}/{path}")
        assert await files.remove(f"{RUN}/in/a") == 1
        assert await paths(files, RUN) == ["in/ab", "in/sub/b", "in/sub/deep/c", "out/d"]
        assert await files.remove(f"{RUN}/in/sub") == 2
        assert await files.remove(f"{RUN}/in") == 1
        assert await files.remove(f"{RUN}/in") == 0 == await files.remove("nobody/at/all")
        assert await paths(files, RUN) == ["out/d"]

    async def test_a_folder_goes_with_its_last_file_and_its_name_is_free(self, files: FileStore) -> None:
        await put(files, f"{RUN}/in/x/y/z")
        await files.remove(f"{RUN}/in/x/y/z")
        await put(files, f"{RUN}/in/x")
        assert await paths(files, RUN) == ["in/x"]

    async def test_files_come_and_go_at_the_same_time(self, files: FileStore) -> None:
        async def busy(number: int) -> None:
            for _ in range(5):
                await put(files, f"{RUN}/in/d/f{number}")
                await files.remove(f"{RUN}/in/d/f{number}")
            await put(files, f"{RUN}/in/d/f{number}")

        await asyncio.gather(*(busy(number) for number in range(8)))
        assert await paths(files, f"{RUN}/in") == [f"d/f{number}" for number in range(8)]

    # names -----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_names_are_data(self, files: FileStore, name: str) -> None:
        key = f"{RUN}/in/{name}"
        await put(files, key, name.encode())
        assert await got(files, key) == name.encode()
        assert await paths(files, f"{RUN}/in") == [name] and await paths(files, RUN) == [f"in/{name}"]
        assert (await files.info(key)).path == name
        assert await files.remove(key) == 1 and await files.list(RUN) == []

    @pytest.mark.parametrize("key", LEAVING)
    async def test_what_is_no_key_is_refused_by_every_method(self, files: FileStore, key: str) -> None:
        with pytest.raises(BadPath):
            await files.info(key)
        with pytest.raises(BadPath):
            await files.read(key)
        with pytest.raises(BadPath):
            await put(files, key)
        with pytest.raises(BadPath):
            await files.join(key, files, [])
        with pytest.raises(BadPath):
            await files.remove(key)
        if key:
            with pytest.raises(BadPath):
                await files.list(key)
            with pytest.raises(BadPath):
                files.local(key)
        assert await files.list("") == []

    @settings(max_examples=8, deadline=None, suppress_health_check=UNCONCERNED)
    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from("wwwr"),
                st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "d", "d/e"]),
                st.binary(max_size=9),
            ),
            max_size=12,
        )
    )
    async def test_any_history_gives_what_a_dictionary_would(
        self, make: MakeFiles, steps: list[tuple[str, str, bytes]]
    ) -> None:
        store, model = make(), dict[str, bytes]()
        for step, path, content in steps:
            below = [known for known in model if known.startswith(f"{path}/")]
            above = [known for known in model if path.startswith(f"{known}/")]
            if step == "w" and not below and not above:
                await put(store, f"role/run/{path}", content)
                model[path] = content
            elif step == "r" and not above:
                gone = [known for known in (*below, path) if model.pop(known, None) is not None]
                assert await store.remove(f"role/run/{path}") == len(gone)
        assert await paths(store, "role/run") == sorted(model)
        for path, content in model.items():
            assert await got(store, f"role/run/{path}") == content
        await store.close()

    # the whole -------------------------------------------------------------------------------------------------------

    async def test_the_storage_can_be_checked_and_nothing_is_left_of_it(self, files: FileStore) -> None:
        await files.check()
        assert await files.list("") == []

    async def test_a_local_place_and_its_mark_go_together(self, files: FileStore) -> None:
        assert (files.local("") is None) == (files.local(f"{RUN}/in") is None) == (files.mark() == "")
        assert files.mark() == files.mark()
        assert await files.list("") == []

    async def test_closing_twice_is_fine(self, files: FileStore) -> None:
        await put(files, f"{RUN}/in/a")
        await files.close()
        await files.close()
