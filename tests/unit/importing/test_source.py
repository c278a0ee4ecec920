"""What an import reads: our layout and the published older one, whole, and without a trace in the folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from kodosumi.events import Event, EventKind, ExecutionState, Position, new_fid
from kodosumi.start.importing import source
from kodosumi.start.importing.source import Part, Reason, Skipped, count, parts
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.unit.importing.folders import contents, lines, stored
from tests.unit.store.histories import FINISHED, OTHER, OWNER, RUNNING, STARTING, event, meta, text
from tests.unit.store.layout import change, database, older_execution

OLDER = [("status", 1_000.0, "starting"), ("stdout", 1_001.0, "hi"), ("status", 1_009.0, "finished")]


def only(folder: Path) -> Part:
    """The one part of the one execution of a folder."""
    (part,) = parts(folder)
    assert isinstance(part, Part)
    return part


def skipped(folder: Path) -> list[tuple[str, Reason]]:
    return [(part.path.name, part.reason) for part in parts(folder) if isinstance(part, Skipped)]


async def test_an_execution_of_ours_is_read_with_all_that_its_store_knew(folder: Path) -> None:
    fid = new_fid()
    await stored(folder, fid, STARTING, meta(summary="Sum"), text("hi"), FINISHED, archived=True)

    part = only(folder)

    assert (part.fid, part.username, part.after) == (fid, OWNER, 0)
    assert [(found.kind, found.payload) for found in part.events][2:] == [("stdout", "hi"), ("status", "finished")]
    assert part.summary is not None
    execution = part.summary.execution
    assert (execution.seq, execution.state, execution.archived) == (4, ExecutionState.FINISHED, True)
    assert (execution.started_at, execution.finished_at) == (1_000.0, 1_009.0)
    assert execution.meta == {"summary": "Sum"}
    assert part.summary.position == Position(3, 7)


async def test_an_execution_of_an_older_layout_says_the_same_as_the_store_reads(folder: Path) -> None:
    fid = new_fid()
    trailing = [*OLDER, ("stderr", 1_010.0, "after the end"), ("gone", None, None)]
    older_execution(folder, OWNER, fid, trailing)

    part = only(folder)

    store = SqliteExecutionStore(folder)
    assert part.summary is not None
    assert part.summary.execution == await store.execution(fid)
    assert [tuple(found) for found in part.events] == [tuple(found)[1:] for found in await store.events(fid)]
    assert part.summary.position is None
    await store.close()


def test_gaps_in_the_rows_of_an_older_layout_are_closed(folder: Path) -> None:
    path = older_execution(folder, OWNER, new_fid(), OLDER)
    change(path, "UPDATE monitor SET id = id * 10")

    part = only(folder)

    assert part.summary is not None
    assert (len(part.events), part.summary.execution.seq) == (3, 3)


async def test_a_large_execution_comes_in_bounded_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", 100)
    fid = new_fid()
    older_execution(folder, OWNER, fid, [OLDER[0], *lines(250), OLDER[-1]])

    found = [part for part in parts(folder) if isinstance(part, Part)]

    assert [(part.after, len(part.events)) for part in found] == [(0, 100), (100, 100), (200, 52)]
    assert [part.summary is not None for part in found] == [False, False, True]
    assert found[-1].summary is not None
    assert found[-1].summary.execution.seq == 252


def test_large_payloads_make_small_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PART_CHARS", 1_000)
    older_execution(folder, OWNER, new_fid(), [OLDER[0], *lines(10, "x" * 600), OLDER[-1]])

    assert max(len(part.events) for part in parts(folder) if isinstance(part, Part)) == 3


def test_exactly_full_parts_still_end_with_the_summary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", 3)
    older_execution(folder, OWNER, new_fid(), OLDER)

    found = [part for part in parts(folder) if isinstance(part, Part)]

    assert [(part.after, len(part.events)) for part in found] == [(0, 3), (3, 0)]
    assert found[-1].summary is not None
    assert found[-1].summary.execution.seq == 3


async def test_reading_leaves_no_trace(folder: Path) -> None:
    await stored(folder, new_fid(), STARTING, FINISHED)
    older_execution(folder, OTHER, new_fid(), OLDER)
    logged = older_execution(folder, OTHER, new_fid(), OLDER[:2])
    with contextlib.closing(sqlite3.connect(logged)) as writer:
        writer.execute("INSERT INTO monitor (timestamp, kind, message) VALUES (1009, 'status', 'finished')")
        writer.commit()
        before = contents(folder)

        found = [part for part in parts(folder) if isinstance(part, Part)]

        assert contents(folder) == before
    assert sorted(len(part.events) for part in found) == [2, 3, 3]


def test_what_lies_only_in_the_log_of_a_killed_process_is_read(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "living"
    fid = new_fid()
    path = older_execution(elsewhere, OWNER, fid, OLDER[:2])
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO monitor (timestamp, kind, message) VALUES (1009, 'status', 'finished')")
        writer.commit()
        target = database(folder, OWNER, fid)
        target.parent.mkdir(parents=True)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{target}{suffix}")

    assert only(folder).events[-1] == Event(EventKind.STATUS, 1_009.0, "finished")


@pytest.mark.parametrize("logged", [False, True])
def test_a_folder_that_may_not_be_written_is_read(folder: Path, logged: bool) -> None:
    path = older_execution(folder, OWNER, new_fid(), OLDER)
    writer = sqlite3.connect(path)
    if logged:
        writer.execute("UPDATE monitor SET message = 'there' WHERE id = 2")
        writer.commit()
    for place in (path.parent, path.parent.parent, folder):
        os.chmod(place, 0o500)

    try:
        assert only(folder).events[1].payload == ("there" if logged else "hi")
    finally:
        for place in (folder, path.parent.parent, path.parent):
            os.chmod(place, 0o700)
        writer.close()


async def test_what_is_not_imported_is_told_with_its_reason(folder: Path) -> None:
    alive, older_alive, garbage, empty, strange = (new_fid() for _ in range(5))
    await stored(folder, alive, STARTING, RUNNING)
    older_execution(folder, OWNER, older_alive, OLDER[:2])
    database(folder, OWNER, garbage).parent.mkdir()
    database(folder, OWNER, garbage).write_bytes(b"no database at all" * 100)
    older_execution(folder, OWNER, empty, [])
    (folder / OWNER / strange / "in").mkdir(parents=True)
    (folder / OWNER / "notes.txt").write_text("a file")

    assert count(folder) == 5
    assert sorted(skipped(folder)) == sorted(
        [
            (alive, Reason.ALIVE),
            (older_alive, Reason.ALIVE),
            (garbage, Reason.DAMAGED),
            (empty, Reason.FOREIGN),
            (strange, Reason.FOREIGN),
        ]
    )


async def test_a_file_that_lost_its_end_is_damaged(folder: Path) -> None:
    fid = new_fid()
    path = older_execution(folder, OWNER, fid, [OLDER[0], *lines(5_000), OLDER[-1]])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)

    assert skipped(folder) == [(fid, Reason.DAMAGED)]


async def test_a_copy_that_lost_events_is_damaged(folder: Path) -> None:
    fid = new_fid()
    await stored(folder, fid, STARTING, text("one"), text("two"), FINISHED)
    change(database(folder, OWNER, fid), "DELETE FROM monitor WHERE id = 2")

    (part,) = parts(folder)

    assert isinstance(part, Skipped)
    assert (part.reason, part.detail) == (Reason.DAMAGED, "3 of 4 events")


async def test_a_file_that_is_written_meanwhile_is_left_for_the_next_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", 2)
    fid = new_fid()
    path = older_execution(folder, OWNER, fid, OLDER)
    # Two changes within one tick of the file system's clock would look like one.
    os.utime(path, (1, 1))
    reading = parts(folder)
    next(reading)

    change(path, "INSERT INTO monitor (timestamp, kind, message) VALUES (1010, 'stdout', 'late')")

    assert [part.reason for part in reading if isinstance(part, Skipped)] == [Reason.WRITTEN]


def test_text_that_no_database_holds_is_kept_readable(folder: Path) -> None:
    path = older_execution(folder, OWNER, new_fid(), OLDER)
    change(path, "UPDATE monitor SET message = CAST(x'61ff62' AS TEXT), timestamp = 9e999 WHERE id = 2")

    assert only(folder).events[1] == event(EventKind.STDOUT, "a\ufffdb", at=0.0)


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    path = older_execution(tmp_path / "elsewhere", OWNER, new_fid(), OLDER)
    (folder / OTHER).symlink_to(path.parent.parent)
    (folder / OWNER).mkdir()
    (folder / OWNER / "linked").symlink_to(path.parent)

    assert count(folder) == 0
    assert list(parts(folder)) == []
