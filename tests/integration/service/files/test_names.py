"""Names are data: whatever they contain, encoded or not, on every route they stay inside their folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.service.files.uploading import put, uploaded

BAD = [
    "..",
    "../x",
    "a/../../x",
    "a/./b",
    "/etc/passwd",
    "//etc/passwd",
    "a//b",
    "a/",
    "C:\\x",
    "c:x",
    "..\\x",
    "a\\b",
    "a\0b",
    "a\nb",
    "CON",
    "nul.txt",
    "a/LPT1",
    "x.",
    "x ",
    "x" * 256,
    "é" * 200,
    "a/" * 2_000 + "b",
    "\uff0e\uff0e\uff0fx",
    "\u2024\u2024/x",
    "a\uff0fb",
    ".kodosumi-files",
    ".part-x",
]
"""Names that no route takes."""

LITERAL = [
    "%2e%2e%2fx",
    "..%2fx",
    "%00",
    "a%5cb",
    "ünïcode.txt",
    "日本/語",
    "-rf",
    "~",
    "$HOME",
    "'; --",
    "<b>",
    "...a",
]
"""Odd names that are only that."""


async def everything(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("name", BAD, ids=[ascii(name[:20]) for name in BAD])
async def test_a_name_that_leads_out_is_refused_on_every_route(alice: Any, run: str, name: str, tmp_path: Path) -> None:
    body = await uploaded(alice, "fine.txt", b"x")
    before = await everything(tmp_path)
    items = {body["upload_id"]: {"filename": name, "totalChunks": 1}}
    answers = [
        await alice.post("/files/init", json={"filename": name, "total_chunks": 1}),
        await alice.post("/files/complete/in", json=body | {"filename": name, "fid": run}),
        await alice.post("/files/complete/in", json=body | {"filename": name}),
        await alice.post(f"/files/complete/{run}/{body['batch_id']}/in", json=items),
    ]
    for encoded in (quote(name), quote(name, safe=""), "".join(f"%{byte:02x}" for byte in name.encode())):
        if name not in ("..", "/etc/passwd", "//etc/passwd") or "%" in encoded[:1]:
            answers.append(await alice.get(f"/files/{run}/in/x/{encoded}"))
            answers.append(await alice.delete(f"/files/{run}/in/x/{encoded}"))
    for answer in answers:
        # A client may resolve dots by itself; what arrives then is another address.
        assert answer.status_code in (400, 404, 405), answer.text
    assert all(answer.status_code == 400 for answer in answers[:4])
    assert await everything(tmp_path) == before


@pytest.mark.parametrize(
    "raw", ["..", "../../sqlite3.db", "%2e%2e/%2e%2e/sqlite3.db", "..%2f..%2fsqlite3.db", "a/%2e%2e"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_an_address_that_leads_out_is_refused_as_it_comes_over_the_wire(
    alice: Any, address: str, run: str, raw: str, method: str
) -> None:
    await put(alice, run, "in/a/b.txt", b"x")
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{method} /files/{run}/in/{raw} HTTP/1.1\r\nHost: {host}\r\nKODOSUMI_API_KEY: {alice.key}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]


@pytest.mark.parametrize("place", ["fid", "batch", "upload", "cancel", "chunk"])
@pytest.mark.parametrize("value", ["..%2f..", "%2e%2e", "..", "a%2fb", "%00", "x" * 300, "*"])
async def test_ids_that_lead_out_are_unknown(alice: Any, run: str, place: str, value: str, tmp_path: Path) -> None:
    before = await everything(tmp_path)
    if place == "fid":
        answer = await alice.get(f"/files/{value}/in/a.txt")
    elif place == "batch":
        answer = await alice.post(f"/files/complete/{run}/{value}/in", json={})
    elif place == "upload":
        answer = await alice.get(f"/files/upload/{value}")
    elif place == "cancel":
        answer = await alice.delete(f"/files/cancel/{value}")
    else:
        fields = {"upload_id": value, "chunk_number": "0"}
        answer = await alice.post("/files/chunk", data=fields, files={"chunk": ("b", b"x")})
    assert answer.status_code in (400, 404, 405), answer.text
    assert await everything(tmp_path) == before


@pytest.mark.parametrize("name", LITERAL)
async def test_an_odd_name_is_a_name(alice: Any, run: str, name: str) -> None:
    await put(alice, run, f"in/{name}", b"content")
    assert [file["path"] for file in (await alice.get(f"/files/{run}/in")).json()] == [f"in/{name}"]
    for encoded in (quote(name), quote(name, safe="")):
        assert (await alice.get(f"/files/{run}/in/{encoded}")).content == b"content"
    assert (await alice.delete(f"/files/{run}/in/{quote(name)}")).status_code == 204


async def test_an_address_that_is_no_utf_8_is_refused(alice: Any, run: str) -> None:
    await put(alice, run, "in/\ufffd", b"x")
    assert (await alice.get(f"/files/{run}/in/%ff")).status_code == 400
    assert (await alice.get(f"/files/{run}/in/%EF%BF%BD")).status_code == 200


async def test_two_users_files_of_one_name_never_meet(alice: Any, bob: Any, run: str, begin: Any) -> None:
    other = await begin(bob.id)
    await put(alice, run, "in/a.txt", b"alice")
    await put(bob, other, "in/a.txt", b"bob")
    assert (await alice.get(f"/files/{run}/in/a.txt")).text == "alice"
    assert (await bob.get(f"/files/{other}/in/a.txt")).text == "bob"


async def test_links_in_a_runs_folder_lead_nowhere(alice: Any, run: str, tmp_path: Path) -> None:
    await put(alice, run, "in/a.txt", b"x")
    folder = tmp_path / "execution" / alice.id / run
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "in" / "link").symlink_to(secret)
    (folder / "in" / "up").symlink_to(tmp_path)
    assert [file["path"] for file in (await alice.get(f"/files/{run}/in")).json()] == ["in/a.txt"]
    for path in ("link", "up/secret"):
        assert (await alice.get(f"/files/{run}/in/{path}")).status_code == 404
    body = await uploaded(alice, "up/new", b"x") | {"fid": run}
    assert (await alice.post("/files/complete/in", json=body)).status_code == 400
    assert secret.read_text() == "secret" and not (tmp_path / "new").exists()
