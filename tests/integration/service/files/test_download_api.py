"""The published calls that list, read and remove: ranges, tags, archives, and who may."""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from typing import Any

import httpx
import psutil
import pytest

from kodosumi.events import new_fid
from kodosumi.service.context import Panel
from tests.conditions import until
from tests.integration.service.files.conftest import Begin
from tests.integration.service.files.uploading import put, uploaded

LARGE_BYTES = 48 * 1024 * 1024
CONTENT = bytes(range(256)) * 15_000


@pytest.fixture
async def path(alice: Any, run: str) -> str:
    """The address of a file of Alice's run."""
    await put(alice, run, "out/sub/a.bin", CONTENT)
    return f"/files/{run}/out/sub/a.bin"


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"save_chunk_size": 4_000_000}


async def test_a_file_comes_as_an_attachment_that_no_browser_runs(alice: Any, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await alice.request(method, path)
        assert answer.status_code == 200
        assert answer.content == (CONTENT if method == "GET" else b"")
        headers = answer.headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-length"] == str(len(CONTENT))
        assert headers["content-disposition"] == 'attachment; filename="a.bin"'
        assert headers["cache-control"] == "no-cache"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("sandbox")
        assert headers["accept-ranges"] == "bytes"
        assert headers["etag"].startswith('"') and headers["last-modified"].endswith("GMT")


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("plain.txt", 'attachment; filename="plain.txt"'),
        ("größe 1.txt", "attachment; filename=\"gr__e 1.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.txt"),
        ("50%.txt", "attachment; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
        ("a'b;c=d.txt", 'attachment; filename="a\'b;c=d.txt"'),
    ],
)
async def test_the_name_of_an_attachment_survives(alice: Any, run: str, name: str, disposition: str) -> None:
    await put(alice, run, f"out/{name}", b"x")
    answer = await alice.get(f"/files/{run}/out/{httpx.URL(path='/' + name).raw_path.decode()[1:]}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == disposition


async def test_one_range_is_served_and_a_broken_download_goes_on(alice: Any, path: str) -> None:
    first = await alice.get(path, headers={"Range": "bytes=0-999999"})
    assert first.status_code == 206
    assert first.headers["content-range"] == f"bytes 0-999999/{len(CONTENT)}"
    assert first.headers["content-length"] == "1000000"
    rest = await alice.get(path, headers={"Range": "bytes=1000000-", "If-Range": first.headers["etag"]})
    assert rest.status_code == 206
    assert first.content + rest.content == CONTENT
    head = await alice.head(path, headers={"Range": "bytes=5-9"})
    assert (head.status_code, head.headers["content-length"]) == (206, "5")


async def test_a_range_behind_the_end_is_refused_and_an_odd_one_overlooked(alice: Any, path: str) -> None:
    answer = await alice.get(path, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    for odd in ("bytes=0-1,4-5", "lines=1-2", "bytes=9-1"):
        assert (await alice.get(path, headers={"Range": odd})).status_code == 200


async def test_changed_content_is_sent_whole_and_known_content_is_not_sent(alice: Any, run: str, path: str) -> None:
    tag = (await alice.head(path)).headers["etag"]
    known = await alice.get(path, headers={"If-None-Match": tag})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    await put(alice, run, "out/sub/a.bin", b"new")
    for headers in ({"If-None-Match": tag}, {"Range": "bytes=1-", "If-Range": tag}):
        changed = await alice.get(path, headers=headers)
        assert (changed.status_code, changed.content) == (200, b"new")
        assert changed.headers["etag"] != tag


async def test_a_folder_comes_as_one_archive(alice: Any, run: str, path: str) -> None:
    await put(alice, run, "out/ü.txt", b"hello")
    answer = await alice.get(f"/files/{run}/out?format=zip")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{run}-out.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {"sub/a.bin": CONTENT, "ü.txt": b"hello"}
    head = await alice.head(f"/files/{run}/out?format=zip")
    assert (head.status_code, head.headers["content-type"]) == (200, "application/zip")


@pytest.mark.parametrize("rest", ["/sub/large.bin", "?format=zip"])
async def test_who_breaks_a_download_off_leaves_no_file_open(
    alice: Any, run: str, path: str, address: str, rest: str
) -> None:
    def is_open() -> bool:
        return any(file.path.endswith("large.bin") for file in psutil.Process().open_files())

    # More than fits into all buffers on its way: else it may have left the panel before anybody looks.
    body = await uploaded(alice, "sub/large.bin", os.urandom(LARGE_BYTES), 4_000_000)
    (await alice.post("/files/complete/out", json=body | {"fid": run})).raise_for_status()
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    writer.write(f"GET /files/{run}/out{rest} HTTP/1.1\r\nHost: x\r\nKODOSUMI_API_KEY: {alice.key}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await until(is_open)
    writer.transport.abort()
    await until(lambda: not is_open())


async def test_what_is_no_file_is_not_found(alice: Any, run: str, path: str) -> None:
    for missing in (f"/files/{run}/out/sub", f"/files/{run}/out/none", f"/files/{run}/in/sub/a.bin", f"{path}/x"):
        answer = await alice.get(missing)
        assert answer.status_code == 404, missing
        assert "Cannot retrieve directories" in answer.json()["detail"]


async def test_files_and_folders_are_removed(alice: Any, run: str, path: str) -> None:
    await put(alice, run, "out/sub/b.txt", b"x")
    await put(alice, run, "out/c.txt", b"x")
    assert [(await alice.delete(f"/files/{run}/out/c.txt")).status_code for _ in range(2)] == [204, 404]
    assert (await alice.delete(f"/files/{run}/out/sub")).status_code == 204
    assert (await alice.get(f"/files/{run}/out")).json() == []
    assert (await alice.delete(path)).status_code == 404


async def test_another_folder_than_in_and_out_is_refused(alice: Any, run: str) -> None:
    for root in ("other", "IN", "sqlite3.db", "%2e%2e", "in%00"):
        for method, rest in (("GET", ""), ("GET", "/a"), ("DELETE", "/a")):
            answer = await alice.request(method, f"/files/{run}/{root}{rest}")
            assert answer.status_code == 400, (method, root, rest, answer.text)


async def test_to_others_there_are_no_files(
    alice: Any, bob: Any, admin: Any, client: httpx.AsyncClient, panel: Panel, run: str, path: str, begin: Begin
) -> None:
    listing = f"/files/{run}/out"

    async def seen(who: httpx.AsyncClient, **more: Any) -> list[int]:
        listed = await who.get(listing, **more)
        assert listed.status_code != 200 or (len(listed.json()) == 1) == (who is not bob and "headers" not in more)
        archive = await who.get(f"{listing}?format=zip", **more)
        return [archive.status_code, (await who.get(path, **more)).status_code]

    assert await seen(alice) == [200, 200]
    assert await seen(admin) == [200, 200]
    assert await seen(bob) == [404, 404]
    assert await seen(client) == [401, 401]
    other = panel.identity.grant(alice.id, await begin(alice.id), launches=True)
    assert await seen(client, headers={"KODOSUMI_API_KEY": other}) == [404, 404]
    assert (await bob.delete(path)).status_code == 404
    assert (await bob.get(listing)).json() == []
    assert (await alice.get(f"/files/{new_fid(1e9)}/out")).json() == []
    assert (await alice.get("/files/nothing/out")).json() == []


async def test_the_files_of_a_run_without_a_user_are_for_operators(alice: Any, admin: Any, begin: Begin) -> None:
    fid = await begin("_annon_")
    await put(admin, fid, "in/a.txt", b"x")
    assert (await admin.get(f"/files/{fid}/in/a.txt")).text == "x"
    assert (await alice.get(f"/files/{fid}/in/a.txt")).status_code == 404
