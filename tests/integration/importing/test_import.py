"""``koco db --import``: what lies in a folder is in the central database afterwards, once, whole and in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError, ExecutionNotFound
from kodosumi.events import EventKind, StoredEvent, new_fid
from kodosumi.start.importing import command, import_folder, source
from kodosumi.store import ExecutionStore, connect_store
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.conditions import until
from tests.unit.importing.folders import contents, lines, stored
from tests.unit.store.histories import FINISHED, OTHER, OWNER, STARTING, batch, meta, text
from tests.unit.store.layout import change, database, older_execution

OLDER = [("status", 1_000.0, "starting"), ("stdout", 1_001.0, "hi"), ("status", 1_009.0, "finished")]
IMPORT = """
import sys
from pathlib import Path
from kodosumi.config import load_settings
from kodosumi.start.importing import import_folder
sys.exit(import_folder(load_settings(), Path(sys.argv[1])))
"""


async def imported(settings: Settings, folder: Path) -> int:
    """Imports as the command does, which has an event loop of its own."""
    return await asyncio.to_thread(import_folder, settings, folder)


async def read(store: ExecutionStore, fid: str) -> AsyncIterator[StoredEvent]:
    after = 0
    while page := await store.events(fid, after):
        for event in page:
            yield event
        after = page[-1].seq


async def all_of(store: ExecutionStore, fid: str) -> list[StoredEvent]:
    return [event async for event in read(store, fid)]


async def test_what_was_stored_in_files_is_read_from_the_database_as_it_was(
    settings: Settings, folder: Path, store: ExecutionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, hidden, older = new_fid(), new_fid(), new_fid()
    await stored(folder, ours, STARTING, meta(summary="Sum", tags=["a"]), text("NUL \0, lone \ud800"), FINISHED)
    await stored(folder, hidden, STARTING, FINISHED, username=OTHER, archived=True)
    older_execution(folder, OTHER, older, [*OLDER, ("stderr", 1_010.0, "after the end"), ("gone", 1.5, "debug now")])
    before = contents(folder)

    assert await imported(settings, folder) == 0

    assert contents(folder) == before
    files = SqliteExecutionStore(folder)
    for fid in (ours, hidden, older):
        assert await store.execution(fid) == await files.execution(fid)
        assert await all_of(store, fid) == await all_of(files, fid)
    assert await store.executions() == await files.executions()
    assert await store.executions(query="after the end") == []
    assert [found.fid for found in await store.executions(query="tag:A")] == [ours]
    assert (await store.count(), await store.count(username=OWNER), await store.count(username=OTHER)) == (2, 1, 1)
    assert [found.fid for found in await store.archived(1e11)] == [hidden]
    assert await store.live() == []
    await files.close()
    assert "3  imported" in capsys.readouterr().out


async def test_a_batch_that_is_delivered_again_after_the_import_is_dropped(
    settings: Settings, folder: Path, store: ExecutionStore
) -> None:
    fid = new_fid()
    await stored(folder, fid, STARTING, FINISHED)
    await imported(settings, folder)

    appended = await store.append(fid, OWNER, [batch(7, STARTING, FINISHED, epoch=3)])

    assert (appended.seq, appended.stored, appended.refused) == (2, 0, 0)


async def test_an_import_that_runs_again_changes_nothing_and_says_so(
    settings: Settings, folder: Path, store: ExecutionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        older_execution(folder, OWNER, new_fid(), OLDER)
    await imported(settings, folder)
    before = await store.changes(0.0)
    older_execution(folder, OWNER, new_fid(), OLDER)
    capsys.readouterr()

    assert await imported(settings, folder) == 0

    assert (await store.changes(0.0))[:20] == before
    assert await store.count() == 21
    assert capsys.readouterr().out.split() == ["1", "imported", "20", "already", "there"]


async def test_an_execution_larger_than_a_part_is_imported_and_compared_whole(
    settings: Settings,
    folder: Path,
    store: ExecutionStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", 1_000)
    small, large = sorted([new_fid(), new_fid()])
    older_execution(folder, OWNER, small, OLDER)
    older_execution(folder, OWNER, large, [OLDER[0], *lines(4_500), ("final", 1_008.0, '{"int": 1}'), OLDER[-1]])

    assert [await imported(settings, folder) for _ in range(2)] == [0, 0]

    events = await all_of(store, large)
    assert [event.seq for event in events] == list(range(1, 4_504))
    assert [event.payload for event in events[1:4_501]] == [f"line {number}" for number in range(4_500)]
    assert (await store.execution(large)).seq == 4_503
    assert (await store.execution(small)).seq == 3
    assert "2  already there" in capsys.readouterr().out


@pytest.mark.parametrize("part_events", [2, 10_000])
async def test_what_is_there_with_other_content_is_left_alone_and_told(
    settings: Settings,
    folder: Path,
    store: ExecutionStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part_events: int,
) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", part_events)
    changed, longer, foreign = (new_fid() for _ in range(3))
    for fid in (changed, longer, foreign):
        older_execution(folder, OWNER, fid, OLDER)
    await imported(settings, folder)
    change(database(folder, OWNER, changed), "UPDATE monitor SET message = 'ho' WHERE id = 2")
    change(
        database(folder, OWNER, longer), "INSERT INTO monitor (timestamp, kind, message) VALUES (1010, 'stdout', 'x')"
    )
    (folder / OTHER).mkdir()
    database(folder, OWNER, foreign).parent.rename(folder / OTHER / foreign)
    capsys.readouterr()

    assert await imported(settings, folder) == 0

    assert "3  skipped, in the database with other content" in capsys.readouterr().out
    assert [event.payload for event in await all_of(store, changed)] == ["starting", "hi", "finished"]
    assert (await store.execution(longer)).seq == 3
    assert (await store.execution(foreign)).username == OWNER


async def test_one_id_under_two_owners_is_imported_once(
    settings: Settings, folder: Path, store: ExecutionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fid = new_fid()
    for username in (OWNER, OTHER):
        older_execution(folder, username, fid, OLDER)

    assert await imported(settings, folder) == 0

    assert (await store.execution(fid)).username == OWNER
    assert f"in the database with other content\n           {folder / OTHER / fid}" in capsys.readouterr().out


async def test_what_was_removed_from_the_database_does_not_come_back(
    settings: Settings, folder: Path, store: ExecutionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fid = new_fid()
    older_execution(folder, OWNER, fid, OLDER)
    await imported(settings, folder)
    await store.purge(fid)

    assert await imported(settings, folder) == 0

    with pytest.raises(ExecutionNotFound):
        await store.execution(fid)
    assert "1  skipped, removed from the database earlier" in capsys.readouterr().out


async def test_a_damaged_execution_stops_no_other_and_leaves_nothing_of_itself(
    settings: Settings,
    folder: Path,
    store: ExecutionStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", 100)
    first, broken, last = sorted(new_fid() for _ in range(3))
    for fid in (first, last):
        older_execution(folder, OWNER, fid, OLDER)
    await stored(folder, broken, STARTING, *(text(str(number)) for number in range(500)), FINISHED)
    change(database(folder, OWNER, broken), "DELETE FROM monitor WHERE id = 450")

    assert await imported(settings, folder) == 1

    output = capsys.readouterr().out
    assert "2  imported" in output
    assert "1  skipped, damaged" in output
    assert f"{folder / OWNER / broken}: 501 of 502 events" in output
    assert [found.fid for found in await store.executions()] == [last, first]
    with pytest.raises(ExecutionNotFound):
        await store.events(broken)


async def test_a_living_execution_is_left_for_later(
    settings: Settings, folder: Path, store: ExecutionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fid = new_fid()
    await stored(folder, fid, STARTING, text("still at it"))

    assert await imported(settings, folder) == 0
    assert "1  skipped, not ended" in capsys.readouterr().out

    files = SqliteExecutionStore(folder)
    await files.append(fid, OWNER, [batch(8, FINISHED, epoch=3)])
    await files.close()
    assert await imported(settings, folder) == 0
    assert [event.payload for event in await all_of(store, fid)] == ["starting", "still at it", "finished"]


async def test_two_imports_at_once_import_each_execution_once(
    settings: Settings, folder: Path, store: ExecutionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GROUP_EXECUTIONS", 3)
    monkeypatch.setattr(source, "PART_EVENTS", 50)
    for _ in range(20):
        older_execution(folder, OWNER, new_fid(), OLDER)
    older_execution(folder, OWNER, new_fid(), [OLDER[0], *lines(300), OLDER[-1]])

    assert await asyncio.gather(imported(settings, folder), imported(settings, folder)) == [0, 0]

    assert await store.count() == 21
    for execution in await store.executions(limit=30):
        assert [event.seq for event in await all_of(store, execution.fid)] == list(range(1, execution.seq + 1))


@pytest.mark.fault
async def test_an_import_that_is_killed_leaves_whole_executions_only_and_goes_on(
    settings: Settings, folder: Path, store: ExecutionStore
) -> None:
    for _ in range(12):
        older_execution(folder, OWNER, new_fid(), [OLDER[0], *lines(12_000), OLDER[-1]])
    environment = {**os.environ, "KODO_EXECUTION_DATABASE": settings.execution_database or ""}
    with subprocess.Popen([sys.executable, "-c", IMPORT, str(folder)], env=environment, cwd=folder) as process:
        await until(store.count, lambda count: count >= 2, deadline_s=120)
        process.send_signal(signal.SIGKILL)
    after_kill = await store.executions(limit=20)

    assert await imported(settings, folder) == 0

    assert {execution.seq for execution in after_kill} == {12_002}
    assert await store.count() == 12
    for execution in await store.executions(limit=20):
        assert (await store.last_event(execution.fid, EventKind.STDOUT)).payload == "line 11999"  # type: ignore[union-attr]
        assert len(await store.events(execution.fid, limit=20_000)) == 12_002


async def test_a_folder_without_executions_is_no_failure(
    settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await imported(settings, folder) == 0
    assert capsys.readouterr().out.startswith(f"nothing to import: {folder}")


@pytest.mark.parametrize("url", [None, "sqlite:///x.db"])
async def test_without_a_postgresql_database_one_line_says_what_to_set(folder: Path, url: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"^KODO_EXECUTION_DATABASE .*postgresql\+asyncpg://[^\n]*$"):
        await imported(Settings(execution_database=url, _env_file=None), folder)


async def test_a_folder_that_does_not_exist_is_named(settings: Settings, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--import .*missing"):
        await imported(settings, folder / "missing")


async def test_the_store_goes_on_while_an_import_holds_its_transaction(
    settings: Settings, folder: Path, store: ExecutionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PART_EVENTS", 100)
    older_execution(folder, OWNER, new_fid(), [OLDER[0], *lines(300), OLDER[-1]])
    seen: list[str] = []
    take = command._Large.take

    async def taken(large: command._Large, part: source.Part) -> None:
        await take(large, part)
        if part.after == 100:
            # in another loop than the fixture's store
            panel = connect_store(settings)
            fid = new_fid()
            await panel.append(fid, OTHER, [batch(1, STARTING)])
            seen.extend(change.execution.fid for change in await panel.changes(0.0))
            assert seen == [fid]
            await panel.close()

    monkeypatch.setattr(command._Large, "take", taken)

    assert await imported(settings, folder) == 0

    assert len(seen) == 1
    assert await store.count() == 2
