"""The same calls when files lie in S3-compatible storage."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any

import pytest

from kodosumi.service.context import Panel
from tests.integration.service.files.uploading import chunk, put, uploaded

CONTENT = bytes(range(256)) * 8_000


@pytest.fixture
def options(options: dict[str, Any], s3_url: str) -> dict[str, Any]:
    return options | {"file_store": s3_url, "upload_quota": 4_200_000}


async def test_files_are_uploaded_completed_read_and_removed(alice: Any, bob: Any, run: str, panel: Panel) -> None:
    assert panel.files.name == "s3" and panel.files.local("") is None
    batch = (await alice.post("/files/init_batch")).json()["batch_id"]
    bodies = [await uploaded(alice, name, CONTENT, 500_000, batch) for name in ("a.bin", "sub/ü.bin")]
    items = {body["upload_id"]: {"filename": body["filename"], "totalChunks": 5} for body in bodies}
    answers = [await alice.post(f"/files/complete/{run}/{batch}/in", json=items) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201] and answers[0].json() == answers[1].json()
    assert [file["path"] for file in (await alice.get(f"/files/{run}/in")).json()] == ["in/a.bin", "in/sub/ü.bin"]

    whole = await alice.get(f"/files/{run}/in/sub/%C3%BC.bin")
    assert whole.content == CONTENT and whole.headers["content-length"] == str(len(CONTENT))
    tag = {"If-Range": whole.headers["etag"], "Range": "bytes=-1000"}
    part = await alice.get(f"/files/{run}/in/sub/%C3%BC.bin", headers=tag)
    assert (part.status_code, part.content) == (206, CONTENT[-1000:])
    known = await alice.get(f"/files/{run}/in/a.bin", headers={"If-None-Match": "*"})
    assert known.status_code == 304
    assert (await alice.get(f"/files/{run}/in/sub")).status_code == 404
    assert (await bob.get(f"/files/{run}/in/a.bin")).status_code == 404
    with zipfile.ZipFile(io.BytesIO((await alice.get(f"/files/{run}/in?format=zip")).content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.bin": CONTENT, "sub/ü.bin": CONTENT}
    assert [(await alice.delete(f"/files/{run}/in/sub")).status_code for _ in range(2)] == [204, 404]
    assert [file["path"] for file in (await alice.get(f"/files/{run}/in")).json()] == ["in/a.bin"]


async def test_an_upload_is_resumed_checked_bounded_and_cancelled(alice: Any, run: str) -> None:
    upload = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 9})).json()
    good = {"x-checksum-sha256": hashlib.sha256(b"x" * 1_000_000).hexdigest()}
    assert (await chunk(alice, upload["upload_id"], 0, b"y", headers=good)).status_code == 400
    statuses = [
        (await chunk(alice, upload["upload_id"], number, b"x" * 1_000_000, headers=good)).status_code
        for number in (3, 1, 8, 1, 0, 2)
    ]
    assert statuses == [201, 201, 201, 201, 201, 413]
    assert (await alice.get(f"/files/upload/{upload['upload_id']}")).json()["chunks"] == [0, 1, 3, 8]
    body = upload | {"filename": "a", "total_chunks": 9, "fid": run}
    assert (await alice.post("/files/complete/in", json=body)).status_code == 400
    statuses = [(await alice.delete(f"/files/cancel/{upload['upload_id']}")).status_code for _ in range(2)]
    assert statuses == [204, 404]
    await put(alice, run, "in/empty", b"")
    assert (await alice.get(f"/files/{run}/in/empty")).content == b""
