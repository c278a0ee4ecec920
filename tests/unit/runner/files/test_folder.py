"""The file systems over a folder of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.events import new_fid
from kodosumi.runner.files import AsyncFileSystem, SyncFileSystem, open_files, open_files_sync
from kodosumi.runner.spec import RunFiles
from tests.unit.runner.files.suite import FileSystem, FileSystemSuite, Make, put

FID = new_fid()


@pytest.mark.parametrize("opener", [open_files, open_files_sync], ids=["async", "sync"], scope="class")
class TestFolder(FileSystemSuite):
    """The suite; no panel is known."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / "execution" / "owner" / FID

    @pytest.fixture
    def make(self, tmp_path: Path, opener: type[FileSystem]) -> Make:
        return lambda fid=FID: opener(fid, "owner", RunFiles(root=str(tmp_path / "execution")))


def test_plain_code_may_use_it_where_a_loop_runs(tmp_path: Path) -> None:
    import asyncio

    put(tmp_path, owner__x__in__a="a")

    async def blocks() -> bytes:
        with open_files_sync("x", "owner", RunFiles(root=str(tmp_path))) as fs:
            assert [Path(path).name for path in fs.download()] == ["a"]
            for _ in fs.open("in/a").read():
                break
            return fs.open("in/a").read_all()

    assert asyncio.run(blocks()) == b"a"


def test_a_file_that_becomes_shorter_is_not_uploaded_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kodosumi.error import FilesUnavailable
    from kodosumi.runner.files import operations
    from kodosumi.runner.files.access import Source

    put(tmp_path, own__a="a", own__b="bbb")
    sources = [Source("a", tmp_path / "own/a", 1), Source("b", tmp_path / "own/b", 4)]
    monkeypatch.setattr(operations, "sources_of", lambda paths: sources)

    with open_files_sync("x", "owner", RunFiles(root=str(tmp_path))) as fs:
        with pytest.raises(FilesUnavailable, match="own/b was changed"):
            fs.upload("own")
        assert fs.ls("out") == []
    assert not (tmp_path / "owner/x").exists()


@pytest.mark.parametrize("kind", [AsyncFileSystem, SyncFileSystem])
def test_it_says_what_it_was_made_of(kind: type[FileSystem], monkeypatch: pytest.MonkeyPatch) -> None:
    from kodosumi.config import process_settings

    monkeypatch.setenv("KODO_CHUNK_SIZE", "4711")
    process_settings.cache_clear()
    try:
        system = kind("the fid", "http://localhost:1", "the token")
    finally:
        process_settings.cache_clear()

    assert (system.fid, system.panel_url, system.jwt) == ("the fid", "http://localhost:1", "the token")
    assert system.chunk_size == 4711
