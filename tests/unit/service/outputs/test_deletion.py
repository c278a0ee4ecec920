"""Purging at the panel: files first, then the rows, and again when it broke in between."""

from __future__ import annotations

import httpx
import pytest

from kodosumi.error import FilesUnavailable
from kodosumi.files import FileStore
from kodosumi.service import deletion
from tests.file_store_contract import paths, put

from .scene import ALICE, Scene


async def with_files(scene: Scene) -> tuple[str, FileStore]:
    """An ended execution with files, and where they are."""
    fid, files = await scene.finished(), scene.panel.files
    await put(files, f"{ALICE.id}/{fid}/in/a")
    await put(files, f"{ALICE.id}/{fid}/out/b/c")
    await put(files, f"{ALICE.id}/other/in/kept")
    return fid, files


async def test_archiving_keeps_the_files_and_purging_removes_them(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid, files = await with_files(scene)
    assert (await alice.delete(f"/outputs/{fid}")).status_code == 204
    assert await paths(files, f"{ALICE.id}/{fid}") == ["in/a", "out/b/c"]
    assert (await alice.delete(f"/outputs/{fid}?purge=true")).status_code == 204
    assert await paths(files, "") == [f"{ALICE.id}/other/in/kept"]


async def test_files_that_cannot_be_removed_keep_the_execution_until_they_can(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fid, files = await with_files(scene)

    async def unavailable(key: str) -> int:
        raise FilesUnavailable("There is no bucket: make it.")

    with monkeypatch.context() as away:
        away.setattr(files, "remove", unavailable)
        refused = await alice.delete(f"/outputs/{fid}?purge=true")
    assert refused.status_code == 503 and "make it" in refused.json()["detail"]
    assert (await scene.store.execution(fid)).archived
    assert (await alice.delete(f"/outputs/{fid}?purge=true")).status_code == 204
    assert await paths(files, f"{ALICE.id}/{fid}") == []


async def test_a_crash_behind_the_files_leaves_an_execution_that_can_be_purged(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "GRACE_S", 0.01)
    fid, _ = await with_files(scene)

    async def dies(_fid: str) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as crash:
        crash.setattr(scene.store, "purge", dies)
        with pytest.raises(ZeroDivisionError):
            await alice.delete(f"/outputs/{fid}?purge=true")
    assert (await alice.delete(f"/outputs/{fid}?purge=true")).status_code == 204
    assert (await alice.delete(f"/outputs/{fid}?purge=true")).status_code == 404
