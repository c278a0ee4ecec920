"""Which way a process reaches a run's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kodosumi.error import FilesUnavailable
from kodosumi.files.local import LocalFileStore
from kodosumi.runner.files import open_files, open_files_sync
from kodosumi.runner.files.folder import FolderAccess
from kodosumi.runner.files.panel import PanelAccess
from kodosumi.runner.spec import RunFiles

NOBODY = "http://127.0.0.1:9"


def access_of(system: Any) -> object:
    return system._operations._access


@pytest.fixture(params=[open_files, open_files_sync], ids=["async", "sync"])
def opener(request: pytest.FixtureRequest) -> Callable[..., Any]:
    opener: Callable[..., Any] = request.param
    return opener


def test_a_folder_without_a_mark_is_this_machines(opener: Callable[..., Any], tmp_path: Path) -> None:
    system = opener("fid", "owner", RunFiles(NOBODY, "token", str(tmp_path / "not made yet")))

    assert isinstance(access_of(system), FolderAccess)


def test_a_folder_with_the_stores_mark_is_the_stores(opener: Callable[..., Any], tmp_path: Path) -> None:
    mark = LocalFileStore(tmp_path).mark()

    system = opener("fid", "owner", RunFiles(NOBODY, "token", str(tmp_path), mark))

    assert isinstance(access_of(system), FolderAccess)
    assert (system.fid, system.panel_url, system.jwt) == ("fid", NOBODY, "token")


@pytest.mark.parametrize("made", [True, False], ids=["another folder", "no folder"])
def test_an_equally_named_folder_of_another_machine_is_not_taken_for_it(
    opener: Callable[..., Any], tmp_path: Path, made: bool
) -> None:
    if made:
        LocalFileStore(tmp_path).mark()

    system = opener("fid", "owner", RunFiles(NOBODY, "token", str(tmp_path), "another mark"))

    assert isinstance(access_of(system), PanelAccess)


def test_without_a_folder_the_panel_is_asked(opener: Callable[..., Any]) -> None:
    assert isinstance(access_of(opener("fid", "owner", RunFiles(NOBODY, "token"))), PanelAccess)


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        (RunFiles(), "launched without a panel"),
        (RunFiles(panel_url=NOBODY), "launched without a panel"),
        (RunFiles(root="/nowhere", mark="mark"), "/nowhere on another machine"),
    ],
)
def test_no_way_at_all_is_said_at_once(opener: Callable[..., Any], files: RunFiles, remedy: str) -> None:
    with pytest.raises(FilesUnavailable, match=remedy):
        opener("fid", "owner", files)


def test_nobody_is_another_folder(opener: Callable[..., Any], tmp_path: Path) -> None:
    for owner, fid in (("..", "fid"), ("owner", "../other"), ("owner/..", "fid"), ("", "fid")):
        with pytest.raises(ValueError):
            opener(fid, owner, RunFiles(root=str(tmp_path)))
