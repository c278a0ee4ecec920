"""Networks and panels that fail while a run's files are on their way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from kodosumi.error import FilesUnavailable
from kodosumi.runner.files import (
    AsyncFileSystem,
    SyncFileSystem,
    open_files,
    open_files_sync,
    patience,
    remove_downloads,
)
from kodosumi.runner.spec import RunFiles
from tests.conditions import until
from tests.integration.runner.served_panel import ServedPanel, served, served_panel
from tests.servers.proxy import Proxy
from tests.unit.runner.files.suite import FileSystem, done, put

KINDS = pytest.mark.parametrize("kind", [AsyncFileSystem, SyncFileSystem])
CONTENT = os.urandom(105_000)


@pytest.fixture
def settings() -> dict[str, Any]:
    """Of the panel; a test may add to it by indirect parametrisation."""
    return {}


@pytest.fixture
async def panel(tmp_path: Path, settings: dict[str, Any]) -> AsyncIterator[ServedPanel]:
    async with served_panel(tmp_path, **settings) as panel:
        yield panel


@pytest.fixture
async def proxy(panel: ServedPanel) -> AsyncIterator[Proxy]:
    """On the way to the panel."""
    async with Proxy(panel.port) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doesn't wait for a panel that won't come back."""
    monkeypatch.setattr(patience, "RETRY_FOR_S", 0.3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of eleven chunks."""
    put(tmp_path, own__large=CONTENT)
    return tmp_path / "own/large"


@KINDS
@pytest.mark.parametrize("step", ["init_batch", "init ", "chunk ", "complete/"])
async def test_an_upload_goes_on_after_a_break(
    kind: type[FileSystem], step: str, panel: ServedPanel, proxy: Proxy, source: Path
) -> None:
    proxy.cut_after(f"POST /files/{step}".encode())
    system = panel.system(kind, proxy.port)

    assert await done(lambda: system.upload(source), system)

    assert proxy.cuts == 1
    assert (panel.home / "out/large").read_bytes() == CONTENT
    await done(system.close, system)


@KINDS
async def test_an_upload_goes_on_when_the_panel_was_away_for_a_while(
    kind: type[FileSystem], panel: ServedPanel, proxy: Proxy, source: Path
) -> None:
    loop = asyncio.get_running_loop()

    def part() -> None:
        proxy.part()
        loop.call_later(0.5, proxy.heal)

    proxy.before(b'name="chunk_number"\r\n\r\n5', part)
    system = panel.system(kind, proxy.port)

    await done(lambda: system.upload(source), system)

    assert proxy.cuts == 1
    assert (panel.home / "out/large").read_bytes() == CONTENT
    await until(panel.uploads, lambda left: left == [])
    await done(system.close, system)


@KINDS
async def test_a_removal_whose_answer_was_lost_has_happened(
    kind: type[FileSystem], panel: ServedPanel, proxy: Proxy
) -> None:
    put(panel.home, in__a="a")
    proxy.cut_after(b"DELETE /files/")
    system = panel.system(kind, proxy.port)

    assert await done(lambda: system.remove("in/a"), system) is True

    assert proxy.cuts == 1
    assert not (panel.home / "in/a").exists()
    await done(system.close, system)


class Cutter:
    """Breaks all connections once, when so many bytes have been answered."""

    def __init__(self, proxy: Proxy, after: int, then: Callable[[], Any] = lambda: None) -> None:
        self._proxy, self._left, self._then = proxy, after, then
        proxy.chunk_bytes = 1_000
        proxy.rewrite = self

    def __call__(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left <= 0:
            self._proxy.rewrite = bytes
            self._then()
            asyncio.get_running_loop().call_soon(self._proxy.cut)
        return data


@KINDS
async def test_a_download_goes_on_where_it_broke(
    kind: type[FileSystem], panel: ServedPanel, proxy: Proxy, tmp_path: Path
) -> None:
    put(panel.home, in__large=CONTENT * 20)
    system = panel.system(kind, proxy.port)
    Cutter(proxy, 500_000)

    (path,) = await done(lambda: system.download("in/large"), system)

    assert proxy.connections >= 2
    assert Path(path).read_bytes() == CONTENT * 20
    await done(system.close, system)
    remove_downloads(system.fid)
    assert not Path(path).exists()


@KINDS
async def test_two_versions_of_a_file_are_never_mixed(kind: type[FileSystem], panel: ServedPanel, proxy: Proxy) -> None:
    put(panel.home, in__large=CONTENT * 20)
    system = panel.system(kind, proxy.port)

    def replace() -> None:
        put(panel.home, in__new=CONTENT[::-1] * 20)
        (panel.home / "in/new").rename(panel.home / "in/large")

    Cutter(proxy, 500_000, replace)

    with pytest.raises(FilesUnavailable, match="in/large was replaced"):
        await done(lambda: system.open("in/large").read_all(), system)
    assert await done(lambda: system.open("in/large").read_all(), system) == CONTENT[::-1] * 20
    await done(system.close, system)


@KINDS
@pytest.mark.parametrize("settings", [{"save_chunk_size": 3_000}])
async def test_chunks_become_as_small_as_the_panel_takes_them(
    kind: type[FileSystem], panel: ServedPanel, source: Path
) -> None:
    put(source.parent, small="small", middle=b"m" * 7_000)
    system = panel.system(kind)
    system.chunk_size = 1_048_576

    await done(lambda: system.upload(source.parent), system)

    assert (panel.home / "out/large").read_bytes() == CONTENT
    assert (panel.home / "out/middle").read_bytes() == b"m" * 7_000
    await until(panel.uploads, lambda left: left == [])
    await done(system.close, system)


@KINDS
@pytest.mark.parametrize("settings", [{"upload_quota": 50_000}])
async def test_what_the_panel_refuses_is_raised_with_its_reason_and_leaves_nothing(
    kind: type[FileSystem], panel: ServedPanel, source: Path
) -> None:
    put(source.parent, small="small")
    system = panel.system(kind)

    with pytest.raises(FilesUnavailable, match=r"50,000 allowed \(KODO_UPLOAD_QUOTA"):
        await done(lambda: system.upload(source.parent), system)

    await until(panel.uploads, lambda left: left == [])
    assert await done(lambda: system.ls("out"), system) == []
    await done(system.close, system)


async def test_a_cancelled_upload_leaves_nothing(panel: ServedPanel, proxy: Proxy, source: Path) -> None:
    system = AsyncFileSystem(panel.fid, f"http://127.0.0.1:{proxy.port}", panel.token)
    system.chunk_size = 1_000
    uploading = asyncio.create_task(system.upload(source))
    await until(panel.uploads, lambda left: len(left) > 5)

    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading

    # A chunk that was on its way is removed a moment after it was written.
    await until(panel.uploads, lambda left: left == [])
    assert await system.ls("out") == []
    await system.close()


@KINDS
async def test_a_key_that_does_not_hold_is_refused_with_a_reason(kind: type[FileSystem], panel: ServedPanel) -> None:
    for fid, token in ((panel.fid, "no key"), (panel.fid, panel.token_of("6b01c28293397100000000aa"))):
        system = kind(fid, panel.url, token)
        with pytest.raises(FilesUnavailable, match=r"The panel refuses: .*HTTP 40[14]"):
            await done(lambda system=system: system.upload(__file__), system)
        await done(system.close, system)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("opener", [open_files, open_files_sync])
async def test_a_panel_that_is_away_matters_only_when_a_file_is_asked_for(opener: Any, tmp_path: Path) -> None:
    async with Proxy(9) as nobody:
        nobody.part()
        url = f"http://127.0.0.1:{nobody.port}"
        system = opener("6b01c28293397100000000aa", "owner", RunFiles(url, "token"))
        stream = system.open("in/a")

        for call in (system.ls, stream.read_all, system.download, lambda: system.upload(__file__)):
            with pytest.raises(FilesUnavailable, match=f"The panel at {url}.* cannot be reached"):
                await done(call, system)
        await done(system.close, system)


@pytest.fixture
async def redirecting(panel: ServedPanel) -> AsyncIterator[int]:
    """The port of a server that redirects ``/there/…`` to the panel and ``/here/…`` to another path of its own."""
    asked: list[str | None] = []

    async def there(request: Request) -> RedirectResponse:
        return RedirectResponse(panel.url + request.url.path.removeprefix("/there"))

    async def here(request: Request) -> RedirectResponse:
        return RedirectResponse(request.url.path.removeprefix("/here"))

    async def files(request: Request) -> JSONResponse:
        asked.append(request.cookies.get("kodosumi_jwt"))
        return JSONResponse([{"path": "in/a", "size": 1, "last_modified": 1.5}])

    async with served(
        Starlette(
            routes=[Route("/there/{_:path}", there), Route("/here/{_:path}", here), Route("/files/{_:path}", files)]
        )
    ) as port:
        yield port
    assert set(asked) <= {panel.token}


@KINDS
async def test_the_key_never_goes_to_another_origin(
    kind: type[FileSystem], panel: ServedPanel, redirecting: int
) -> None:
    system = kind(panel.fid, f"http://127.0.0.1:{redirecting}/there", panel.token)

    with pytest.raises(FilesUnavailable, match=f"redirects to {panel.url}"):
        await done(system.ls, system)

    await done(system.close, system)


@KINDS
async def test_a_redirect_within_the_panel_is_followed(
    kind: type[FileSystem], panel: ServedPanel, redirecting: int
) -> None:
    system = kind(panel.fid, f"http://127.0.0.1:{redirecting}/here/", panel.token)

    assert await done(system.ls, system) == [{"path": "in/a", "size": 1, "last_modified": 1.5}]

    await done(system.close, system)


@KINDS
async def test_what_is_no_panel_is_said(kind: type[FileSystem], panel: ServedPanel) -> None:
    for address in (f"{panel.url}/static", "no address", "ftp://localhost", "http://local host:1", "http://[::1"):
        with pytest.raises(FilesUnavailable):
            system = kind(panel.fid, address, panel.token)
            await done(system.ls, system)


async def test_one_file_system_works_on_one_loop_after_the_other(panel: ServedPanel) -> None:
    put(panel.home, in__a="a")
    system = panel.system(AsyncFileSystem)

    found = [await asyncio.to_thread(asyncio.run, system.ls()) for _ in range(2)]  # type: ignore[arg-type]

    assert [len(files) for files in found] == [1, 1]
    assert len(await system.ls()) == 1  # type: ignore[misc]
    await system.close()  # type: ignore[misc]


@KINDS
async def test_what_was_never_closed_ends_its_connections_when_nobody_has_it(
    kind: type[FileSystem], panel: ServedPanel, proxy: Proxy
) -> None:
    system = panel.system(kind, proxy.port)
    await done(system.ls, system)
    assert proxy._open

    del system

    await until(lambda: not proxy._open)
