"""A folder as a ZIP file that standard readers take."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.files.local import LocalFileStore
from kodosumi.service.files import zipping
from kodosumi.service.files.zipping import zipped

CONTENT = {"a.txt": b"hello", "empty": b"", "sub/ü/large.bin": bytes(range(256)) * 10_000}


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalFileStore]:
    made = LocalFileStore(tmp_path)
    for name, content in CONTENT.items():
        await made.write(f"u/f/out/{name}", pieces(content))
    yield made
    await made.close()


async def archive(store: LocalFileStore) -> zipfile.ZipFile:
    files = await store.list("u/f/out")
    return zipfile.ZipFile(io.BytesIO(b"".join([piece async for piece in zipped(store, "u/f/out", files)])))


@pytest.mark.parametrize("zip64_from", [zipping._ZIP64_FROM_BYTES, 0])
async def test_an_archive_holds_every_file(
    store: LocalFileStore, zip64_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipping, "_ZIP64_FROM_BYTES", zip64_from)
    with await archive(store) as made:
        assert made.testzip() is None
        assert {name: made.read(name) for name in made.namelist()} == CONTENT


async def test_a_file_that_is_gone_when_its_turn_comes_is_left_out(store: LocalFileStore) -> None:
    files = await store.list("u/f/out")
    await store.remove("u/f/out/empty")
    content = b"".join([piece async for piece in zipped(store, "u/f/out", files)])
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        assert set(made.namelist()) == {"a.txt", "sub/ü/large.bin"}


async def test_an_empty_folder_is_an_empty_archive(tmp_path: Path) -> None:
    content = b"".join([piece async for piece in zipped(LocalFileStore(tmp_path), "u/f/in", [])])
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == []


async def test_large_files_come_in_pieces(store: LocalFileStore) -> None:
    files = await store.list("u/f/out")
    sizes = [len(piece) async for piece in zipped(store, "u/f/out", files)]
    assert len(sizes) > len(CONTENT) and max(sizes) < 1_200_000


async def test_dates_that_zip_cannot_write_are_moved_to_those_it_can(store: LocalFileStore) -> None:
    import os

    path = store.local("u/f/out/a.txt")
    assert path is not None
    os.utime(path, (1, 1))
    with await archive(store) as made:
        assert made.getinfo("a.txt").date_time[0] == 1980
