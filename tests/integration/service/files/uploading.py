"""Uploading as a client does it."""

from __future__ import annotations

from typing import Any

import httpx


async def chunk(client: httpx.AsyncClient, upload_id: str, number: int, content: bytes, **more: Any) -> httpx.Response:
    """Sends one chunk."""
    fields = {"upload_id": upload_id, "chunk_number": str(number), **more.pop("fields", {})}
    return await client.post("/files/chunk", data=fields, files={"chunk": ("blob", content)}, **more)


async def uploaded(
    client: httpx.AsyncClient, name: str, content: bytes, size: int = 10, batch: str | None = None
) -> dict[str, Any]:
    """Begins an upload and sends all of its chunks; gives what completing it takes."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    body = {"filename": name, "total_chunks": len(pieces), "batch_id": batch}
    begun = await client.post("/files/init", json=body)
    assert begun.status_code == 201, begun.text
    ids = begun.json()
    for number, piece in enumerate(pieces):
        answer = await chunk(client, ids["upload_id"], number, piece)
        assert answer.status_code == 201, answer.text
    return {**body, **ids}


async def put(client: httpx.AsyncClient, fid: str, path: str, content: bytes) -> dict[str, Any]:
    """A file in an execution, uploaded; ``path`` begins with its root."""
    root, _, name = path.partition("/")
    body = await uploaded(client, name, content, max(len(content), 1)) | {"fid": fid}
    answer = await client.post(f"/files/complete/{root}", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found
