"""What people do with a run, as their clients do it: answer its locks, send it files, fetch its results."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import httpx

from tests.acceptance.faults.plant import wait_for

CHUNK_BYTES = 100_000


def open_locks(client: httpx.Client, fid: str, number: int = 1, *, answered: Collection[str] = ()) -> list[str]:
    """The ids of a run's open locks but for those just answered, which are shown as open until that is stored."""

    def listed() -> list[str]:
        answer = client.get(f"/outputs/status/{fid}?extended=true")
        locks = answer.json()["locks"] if answer.status_code == 200 else ()
        return [lid for lid in locks if lid not in answered]

    found: list[str] = wait_for(listed, lambda locks: len(locks) == number)
    return found


def answer(client: httpx.Client, fid: str, lid: str, **fields: object) -> httpx.Response:
    """Answers a lock."""
    return client.post(f"/lock/{fid}/{lid}", json=fields)


def new_role(client: httpx.Client, name: str, *, operator: bool = False) -> httpx.Client:
    """A client of a new role, which an operator's client makes."""
    role = {"name": name, "email": f"{name}@example.com", "password": "a good password", "operator": operator}
    client.post("/role", json=role).raise_for_status()
    other = httpx.Client(base_url=client.base_url, timeout=60)
    other.post("/api/login", json={"name": name, "password": role["password"]}).raise_for_status()
    return other


def uploaded(
    client: httpx.Client, files: Mapping[str, bytes], name: str = "files", chunk_bytes: int = CHUNK_BYTES
) -> str:
    """Uploads files in chunks and gives the text that stands for them in a form's field."""
    batch = client.post("/files/init_batch").raise_for_status().json()["batch_id"]
    items = {}
    for filename, content in files.items():
        chunks = [content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)] or [b""]
        begun = {"filename": filename, "total_chunks": len(chunks), "batch_id": batch}
        upload = client.post("/files/init", json=begun).raise_for_status().json()["upload_id"]
        for number, chunk in enumerate(chunks):
            send_chunk(client, upload, number, chunk).raise_for_status()
        items[upload] = {"filename": filename, "totalChunks": len(chunks)}
    return json.dumps({"batchId": batch, "items": items, "name": name})


def send_chunk(client: httpx.Client, upload: str, number: int, chunk: bytes) -> httpx.Response:
    """Sends one chunk of an upload."""
    return client.post(
        "/files/chunk", data={"upload_id": upload, "chunk_number": str(number)}, files={"chunk": ("blob", chunk)}
    )


def listed(client: httpx.Client, fid: str, root: str) -> dict[str, int]:
    """The sizes of a run's files by path."""
    files: Sequence[dict[str, Any]] = client.get(f"/files/{fid}/{root}").raise_for_status().json()
    return {file["path"]: file["size"] for file in files}
