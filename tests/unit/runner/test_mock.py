"""The tracer for tests: prepared answers, and files of its own."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kodosumi.core import TracerMock
from kodosumi.error import UnknownLock


async def test_a_mock_gives_the_prepared_answers() -> None:
    double: Callable[[Any], Any] = lambda data: data["n"] * 2  # noqa: E731
    mock = TracerMock(answers={"plain": 1, "made": double, "late": TimeoutError("too late")})
    assert await mock.lock("plain") == 1
    assert mock.lock_sync("made", {"n": 4}, assignee="bob") == 8
    with pytest.raises(TimeoutError, match="too late"):
        await mock.lock("late")
    with pytest.raises(UnknownLock, match=r"'other'.*plain, made, late"):
        await mock.lock("other")
    told = [(event.kind, json.loads(event.payload)["dict"]) for event in mock.events]
    assert [kind for kind, _ in told] == ["lock", "lease", "lock", "lease", "lock"]
    assert told[3][1]["result"] == 8


def test_a_mock_has_a_folder_of_its_own_that_goes_with_it(tmp_path) -> None:
    mock = TracerMock("f" * 24)
    folder = mock.folder
    assert mock.folder == folder and folder.name == "f" * 24 and folder.parents[1].exists()
    del mock
    assert not folder.parents[1].exists()
    given = TracerMock("f" * 24, folder=tmp_path)
    assert given.folder.parents[1] == tmp_path
    assert pickle.loads(pickle.dumps(given)).folder == given.folder


async def test_a_mocks_files_are_found_and_kept_in_its_folder(tmp_path: Path) -> None:
    mock = TracerMock(folder=tmp_path / "files")
    given = mock.folder / "in" / "a.txt"
    given.parent.mkdir(parents=True)
    given.write_text("given")
    made = tmp_path / "b.txt"
    made.write_text("made")
    async with await mock.fs() as fs:
        assert [file["path"] for file in await fs.ls("in")] == ["in/a.txt"]
        assert await fs.upload(str(made))
    assert (mock.folder / "out" / "b.txt").read_text() == "made"
    with mock.fs_sync() as fs_sync, fs_sync.open("out/b.txt") as file:
        assert file.read_all() == b"made"


def test_a_mock_without_a_folder_has_files_too() -> None:
    with TracerMock().fs_sync() as fs:
        assert fs.ls("in") == []
