"""What every file system does, whatever it is for (coroutines, plain code) and however it reaches the files.

A subclass gives the fixtures ``home`` and ``make``; see ``test_folder.py``.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import isasyncgen, isawaitable, isgenerator
from pathlib import Path
from typing import Any

import pytest

from kodosumi.runner.files import AsyncFileSystem, SyncFileSystem, remove_downloads
from kodosumi.runner.state import threads_left
from tests.conditions import until

FileSystem = AsyncFileSystem | SyncFileSystem
Make = Callable[..., FileSystem]

BAD_PATHS = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "/in/x",
    "elsewhere/x",
    "In/x",
    "in/..",
    "in/../out/x",
    "in/a/../../../x",
    "in//x",
    "in/./x",
    "in\\x",
    "in/a\\b",
    "in/a\0b",
    "in/C:x",
    "in/nul",
    "in/\uff0e\uff0e/x",
    "in/a\uff0fb",
    "in/" + "x" * 300,
    "in/" + "x/" * 2_500 + "x",
]


async def done(work: Callable[[], Any], system: FileSystem) -> Any:
    """What a call of a file system or its stream gives; of generators, all they give."""
    if isinstance(system, SyncFileSystem):
        return await asyncio.to_thread(_collected, work)
    result = work()
    if isasyncgen(result):
        return [item async for item in result]
    return await result if isawaitable(result) else result


def _collected(work: Callable[[], Any]) -> Any:
    result = work()
    return list(result) if isgenerator(result) else result


def put(home: Path, **files: bytes | str) -> None:
    """Files below a run's folder, as ``in__name="content"``."""
    for name, content in files.items():
        target = home / name.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


class FileSystemSuite:
    """The tests; ``home`` is the run's folder in the store."""

    @pytest.fixture
    def home(self) -> Path:
        raise NotImplementedError

    @pytest.fixture
    def make(self) -> Make:
        """Makes the file system of the run, or with ``fid=`` of another one."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def own_temporary_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder

    @pytest.fixture
    async def system(self, make: Make) -> AsyncIterator[FileSystem]:
        system = make()
        system.chunk_size = 1_000
        yield system
        await done(system.close, system)

    # listing ---------------------------------------------------------------------------------------------------------

    async def test_a_root_lists_its_files_at_any_depth_in_order(self, system: FileSystem, home: Path) -> None:
        put(home, in__b="bb", in__a="a", in__sub__deep__c="ccc", out__d="")

        found = await done(lambda: system.ls("in"), system)

        assert [(file["path"], file["size"]) for file in found] == [("in/a", 1), ("in/b", 2), ("in/sub/deep/c", 3)]
        assert all(set(file) == {"path", "size", "last_modified"} for file in found)
        assert abs(found[0]["last_modified"] - (home / "in/a").stat().st_mtime) < 1
        assert await done(system.ls, system) == found
        assert [file["path"] for file in await done(lambda: system.ls("out/"), system)] == ["out/d"]

    async def test_a_subfolder_lists_what_is_in_it_alone(self, system: FileSystem, home: Path) -> None:
        put(home, in__sub__a="a", in__subway="b", in__sub__deep__c="c")

        assert [file["path"] for file in await done(lambda: system.ls("in/sub"), system)] == [
            "in/sub/a",
            "in/sub/deep/c",
        ]
        assert [file["path"] for file in await done(lambda: system.ls("in/subway"), system)] == ["in/subway"]

    async def test_what_is_not_there_lists_as_nothing(self, system: FileSystem, make: Make) -> None:
        assert await done(system.ls, system) == []
        assert await done(lambda: system.ls("out/nothing"), system) == []

    async def test_links_are_neither_listed_nor_followed(self, system: FileSystem, home: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        put(home, in__a="a")
        (home / "in/link").symlink_to(tmp_path / "secret")
        (home / "in/folder").symlink_to(tmp_path)

        assert [file["path"] for file in await done(system.ls, system)] == ["in/a"]
        for path in ("in/link", "in/folder/secret"):
            with pytest.raises(FileNotFoundError):
                await done(lambda path=path: system.open(path).read_all(), system)

    # names -----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("path", BAD_PATHS, ids=range(len(BAD_PATHS)))
    async def test_a_path_that_leaves_the_run_is_refused(self, system: FileSystem, home: Path, path: str) -> None:
        put(home.parent, x="x")
        for call in (system.ls, system.open, system.download, system.remove):
            with pytest.raises(ValueError):
                await done(lambda call=call: call(path), system)

    @pytest.mark.parametrize("name", ["%2e%2e", "a%2fb", "ünï cødé 日本.txt", "#?&=+;,'\"(1).md", " x", "100%"])
    async def test_any_other_name_is_just_a_name(
        self, system: FileSystem, home: Path, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / name).write_text("content")

        await done(lambda: system.upload(tmp_path / "own" / name), system)

        assert [file["path"] for file in await done(lambda: system.ls("out"), system)] == [f"out/{name}"]
        assert await done(lambda: system.open(f"out/{name}").read_all(), system) == b"content"
        (copy,) = await done(lambda: system.download(f"out/{name}"), system)
        assert Path(copy).name == name
        assert await done(lambda: system.remove(f"out/{name}"), system) is True
        assert list((home / "out").glob("*")) == [] or not (home / "out").exists()

    # reading ---------------------------------------------------------------------------------------------------------

    async def test_a_file_is_read_in_pieces(self, system: FileSystem, home: Path) -> None:
        content = os.urandom(2_500)
        put(home, in__a=content, in__empty="")

        pieces = await done(lambda: system.open("in/a").read(), system)

        assert b"".join(pieces) == content
        assert [len(piece) for piece in pieces] == [1_000, 1_000, 500]
        assert await done(lambda: system.open("in/a").read_all(), system) == content
        assert await done(lambda: system.open("in/empty").read_all(), system) == b""

    async def test_a_stream_reads_from_the_begin_each_time(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="content")
        stream = system.open("in/a")

        assert [await done(stream.read_all, system) for _ in range(2)] == [b"content"] * 2

        await done(stream.close, system)

    async def test_that_a_file_is_missing_shows_when_it_is_read(self, system: FileSystem, home: Path) -> None:
        put(home, in__folder__a="a")
        for path in ("in/missing", "in/folder", "out/folder/a", "in/folder/a/b"):
            stream = system.open(path)
            with pytest.raises(FileNotFoundError, match=path):
                await done(stream.read_all, system)
            with pytest.raises(FileNotFoundError, match=path):
                await done(stream.read, system)

    async def test_a_stream_is_entered_once(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="a")
        stream: Any = system.open("in/a")
        enter = stream.__aenter__ if isinstance(system, AsyncFileSystem) else stream.__enter__
        leave = stream.__aexit__ if isinstance(system, AsyncFileSystem) else stream.__exit__

        assert await done(enter, system) is stream
        with pytest.raises(RuntimeError):
            await done(enter, system)
        await done(lambda: leave(None, None, None), system)

        for call in (enter, stream.read, stream.read_all, stream.remove):
            with pytest.raises(RuntimeError):
                await done(call, system)
        await done(stream.close, system)

    async def test_what_is_closed_while_it_is_read_does_not_look_whole(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="a" * 50_000)
        stream: Any = system.open("in/a")

        async def read_on() -> None:
            async for _ in stream.read():
                await stream.close()

        def read_on_sync() -> None:
            for _ in stream.read():
                stream.close()

        with pytest.raises(RuntimeError):
            await done(read_on if isinstance(system, AsyncFileSystem) else read_on_sync, system)

    async def test_a_stream_removes_its_file(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="a", in__b="b")

        assert await done(system.open("in/a").remove, system) is True

        assert [file["path"] for file in await done(system.ls, system)] == ["in/b"]

    # downloading -----------------------------------------------------------------------------------------------------

    async def test_a_download_keeps_the_structure_below_what_was_asked_for(
        self, system: FileSystem, home: Path, own_temporary_folder: Path
    ) -> None:
        put(home, in__a="a", in__sub__b="b" * 2_500, in__sub__deep__c="")

        everything = await done(system.download, system)
        folder = await done(lambda: system.download("in/sub"), system)
        single = await done(lambda: system.download("in/sub/b"), system)

        assert [_below(path, own_temporary_folder) for path in everything] == ["a", "sub/b", "sub/deep/c"]
        assert [_below(path, own_temporary_folder) for path in folder] == ["b", "deep/c"]
        assert [_below(path, own_temporary_folder) for path in single] == ["b"]
        assert Path(single[0]).read_text() == "b" * 2_500
        assert len(_made(own_temporary_folder)) == 3

        await done(system.close, system)
        assert len(_made(own_temporary_folder)) == 3, "the paths are the caller's"
        remove_downloads(system.fid)
        assert _made(own_temporary_folder) == []

    async def test_downloading_nothing_is_an_error_and_leaves_nothing(
        self, system: FileSystem, own_temporary_folder: Path
    ) -> None:
        for path in ("in", "out/sub", "in/a"):
            with pytest.raises(FileNotFoundError):
                await done(lambda path=path: system.download(path), system)
        assert _made(own_temporary_folder) == []

    async def test_a_download_that_fails_leaves_nothing(
        self, system: FileSystem, home: Path, own_temporary_folder: Path
    ) -> None:
        put(home, in__a="a", in__b="b")

        async def disturbed() -> None:
            async for _ in system.download():  # type: ignore[union-attr]
                (home / "in/b").unlink()

        def disturbed_sync() -> None:
            for _ in system.download():  # type: ignore[union-attr]
                (home / "in/b").unlink()

        with pytest.raises(FileNotFoundError):
            await done(disturbed if isinstance(system, AsyncFileSystem) else disturbed_sync, system)
        assert _made(own_temporary_folder) == []

    async def test_who_has_enough_keeps_what_they_got(
        self, system: FileSystem, home: Path, own_temporary_folder: Path
    ) -> None:
        put(home, in__a="a", in__b="b")

        async def first() -> str:
            download: Any = system.download()
            path = await anext(download)
            await download.aclose()
            return path

        def first_sync() -> str:
            download: Any = system.download()
            path = next(download)
            download.close()
            return path

        path = await done(first if isinstance(system, AsyncFileSystem) else first_sync, system)
        await done(system.close, system)
        assert Path(path).read_text() == "a"
        remove_downloads(system.fid)
        assert _made(own_temporary_folder) == []

    # uploading -------------------------------------------------------------------------------------------------------

    async def test_files_and_folders_are_uploaded_as_one_batch(
        self, system: FileSystem, home: Path, tmp_path: Path
    ) -> None:
        content = os.urandom(10_500)
        put(tmp_path, own__single=content, own__empty="", results__a="a", results__sub__b="b" * 1_000)

        batch = await done(
            lambda: system.upload(tmp_path / "own/single", str(tmp_path / "own/empty"), tmp_path / "results"), system
        )

        assert isinstance(batch, str) and batch
        found = await done(lambda: system.ls("out"), system)
        assert [(file["path"], file["size"]) for file in found] == [
            ("out/a", 1),
            ("out/empty", 0),
            ("out/single", 10_500),
            ("out/sub/b", 1_000),
        ]
        assert (home / "out/single").read_bytes() == content
        assert [path.name for path in home.iterdir()] == ["out"]

    async def test_an_upload_replaces_what_has_its_name(self, system: FileSystem, home: Path, tmp_path: Path) -> None:
        put(home, out__a="old and longer")
        put(tmp_path, a="new")

        await done(lambda: system.upload(tmp_path / "a"), system)

        assert (home / "out/a").read_text() == "new"

    async def test_many_files_are_uploaded(self, system: FileSystem, tmp_path: Path) -> None:
        put(tmp_path, **{f"many__{number:03}": str(number) for number in range(100)})

        await done(lambda: system.upload(tmp_path / "many"), system)

        assert len(await done(lambda: system.ls("out"), system)) == 100

    async def test_nothing_to_upload_is_no_batch(self, system: FileSystem, tmp_path: Path) -> None:
        (tmp_path / "empty/in it").mkdir(parents=True)

        assert await done(lambda: system.upload(tmp_path / "empty"), system) is None
        assert await done(lambda: system.upload(), system) is None

    async def test_an_upload_that_cannot_be_is_refused_before_it_begins(
        self, system: FileSystem, home: Path, tmp_path: Path
    ) -> None:
        put(tmp_path, good="good", one__a="1", other__a="2", reserved__nul="3", folder__good__x="4")
        refused: list[tuple[type[Exception], list[Path]]] = [
            (FileNotFoundError, [tmp_path / "missing"]),
            (ValueError, [tmp_path / "one", tmp_path / "other"]),
            (ValueError, [tmp_path / "reserved"]),
            (ValueError, [tmp_path / "folder"]),
        ]

        for error, paths in refused:
            with pytest.raises(error):
                await done(lambda paths=paths: system.upload(tmp_path / "good", *paths), system)

        assert await done(lambda: system.ls("out"), system) == []
        assert not home.exists() or list(home.iterdir()) == []

    # removing --------------------------------------------------------------------------------------------------------

    async def test_a_folder_is_removed_with_all_in_it(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="a", in__sub__b="b", in__sub__deep__c="c")

        assert await done(lambda: system.remove("in/sub"), system) is True
        assert [file["path"] for file in await done(system.ls, system)] == ["in/a"]
        assert await done(lambda: system.remove("in/a"), system) is True
        assert await done(system.ls, system) == []

    async def test_what_is_not_there_cannot_be_removed(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="a")
        for path in ("in/b", "out/a", "in/a/b"):
            with pytest.raises(FileNotFoundError, match=path):
                await done(lambda path=path: system.remove(path), system)
        with pytest.raises(ValueError):
            await done(lambda: system.remove("in"), system)
        assert len(await done(system.ls, system)) == 1

    # the end ---------------------------------------------------------------------------------------------------------

    async def test_what_is_closed_does_nothing_any_more(self, system: FileSystem, home: Path) -> None:
        put(home, in__a="a")
        stream = system.open("in/a")

        await done(system.close, system)
        await done(system.close, system)

        for call in (
            system.ls,
            system.download,
            lambda: system.upload(home),
            lambda: system.remove("in/a"),
            lambda: system.open("in/a"),
            stream.read_all,
        ):
            with pytest.raises(RuntimeError):
                await done(call, system)

    async def test_a_block_closes(self, make: Make, home: Path) -> None:
        put(home, in__a="a")
        system: Any = make()

        async def block() -> None:
            async with system as fs, fs.open("in/a") as stream:
                assert await stream.read_all() == b"a"

        def block_sync() -> None:
            with system as fs, fs.open("in/a") as stream:
                assert stream.read_all() == b"a"

        await done(block if isinstance(system, AsyncFileSystem) else block_sync, system)
        with pytest.raises(RuntimeError):
            await done(system.ls, system)

    async def test_no_thread_is_left_behind(self, make: Make, home: Path, tmp_path: Path) -> None:
        put(tmp_path, **{f"many__{number}": b"x" * 5_000 for number in range(5)})
        before = threading.enumerate()

        system = make()
        system.chunk_size = 1_000
        await done(lambda: system.upload(tmp_path / "many"), system)
        assert len(await done(lambda: system.download("out"), system)) == 5
        await done(system.close, system)

        await until(lambda: _ours(threads_left(before)), lambda left: not left)


def _ours(left: list[threading.Thread]) -> list[threading.Thread]:
    # A panel in this process has threads of its own.
    return [thread for thread in left if "AnyIO" not in thread.name]


def _made(temporary: Path) -> list[str]:
    return [path.name for path in temporary.iterdir()]


def _below(path: str, temporary: Path) -> str:
    folder, *rest = Path(path).relative_to(temporary).parts
    assert folder.startswith("kodosumi-")
    return "/".join(rest)
