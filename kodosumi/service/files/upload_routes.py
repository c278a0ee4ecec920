"""``/files/init_batch`` to ``/files/cancel``: uploads in progress, for whoever is logged in and for runs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from ..auth import CurrentFilesUser
from ..context import Panel, PanelContext
from ..errors import ApiError
from .access import Root, check_root, folder_of, safe_name
from .multipart import chunk_form
from .uploads import MAX_CHUNKS, Completed, Uploads, Wanted

CHECKSUM = "x-checksum-sha256"
"""Header, or field of the form, with the SHA-256 of a chunk in hex."""

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_BATCH = 50_000
_BATCH = re.compile(r"[A-Za-z0-9_-]{1,64}")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Puts the uploads into ``app.state`` for as long as the panel serves."""
    panel: Panel = app.state.panel
    app.state.uploads = Uploads(panel.uploads, panel.files, panel.settings.upload_quota)
    yield


chunks = APIRouter(prefix="/files", tags=["Files"])
router = APIRouter(prefix="/files", tags=["Files"], lifespan=lifespan, max_body_size=MAX_BODY_BYTES)


async def uploads_of(connection: HTTPConnection) -> Uploads:
    """The uploads of the panel that serves this request."""
    uploads: Uploads = connection.app.state.uploads
    return uploads


UploadsContext = Annotated[Uploads, Depends(uploads_of)]
"""Parameter type of routes that need the uploads."""

_Text = Annotated[str, Field(max_length=8_000)]
_Id = Annotated[str, Field(max_length=100)]
_Total = Annotated[int, Field(ge=0, le=MAX_CHUNKS, strict=True)]


class NewUpload(BaseModel):
    """One file that will come in chunks; an empty one has none."""

    filename: _Text
    total_chunks: _Total
    batch_id: _Id | None = None


class OneUpload(BaseModel):
    """One upload to complete; without ``fid`` it waits in its batch for the launch that takes it."""

    upload_id: _Id
    filename: _Text
    total_chunks: _Total
    batch_id: _Id | None = None
    fid: _Id | None = None


class BatchItem(BaseModel):
    """One upload of a batch."""

    filename: _Text
    total: Annotated[_Total, Field(alias="totalChunks")]


@router.post("/init_batch", status_code=201, summary="Begin uploads that go together")
async def init_batch(user: CurrentFilesUser) -> dict[str, str]:
    """A new batch id."""
    return {"batch_id": uuid.uuid4().hex}


@router.post("/init", status_code=201, summary="Begin an upload")
async def init(body: NewUpload, user: CurrentFilesUser, uploads: UploadsContext) -> dict[str, str]:
    """A new upload of a batch, or of a batch of its own."""
    filename = safe_name(body.filename)
    batch_id = uuid.uuid4().hex if body.batch_id is None else _batch(body.batch_id)
    upload = await uploads.begin(user.user_id, filename, body.total_chunks, batch_id)
    return {"upload_id": upload.upload_id, "batch_id": upload.batch_id}


@chunks.post(
    "/chunk",
    status_code=201,
    summary="Send a chunk",
    responses={413: {"description": "The chunk is too large, or the user has too many bytes of uploads in progress."}},
    openapi_extra={
        "parameters": [{"name": CHECKSUM, "in": "header", "required": False, "schema": {"type": "string"}}],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["upload_id", "chunk_number", "chunk"],
                        "properties": {
                            "upload_id": {"type": "string"},
                            "chunk_number": {"type": "integer", "minimum": 0},
                            "chunk": {"type": "string", "format": "binary"},
                            CHECKSUM: {"type": "string"},
                        },
                    }
                }
            },
        },
    },
)
async def chunk(
    request: Request, user: CurrentFilesUser, panel: PanelContext, uploads: UploadsContext
) -> dict[str, str | int]:
    """Chunks come in any order, several at once, and again after a break: the last one of a number counts.

    With a checksum, what doesn't match it is refused and not kept.
    """
    form = await chunk_form(request, panel.settings.save_chunk_size)
    if missing := [name for name in ("upload_id", "chunk_number", "chunk") if name not in form]:
        raise ApiError(400, f"The form lacks {', '.join(missing)}.")
    number, content = _number(form["chunk_number"]), form["chunk"]
    await _check(content, form.get(CHECKSUM, b"").decode("utf-8", "replace") or request.headers.get(CHECKSUM, ""))
    upload_id = form["upload_id"].decode("utf-8", "replace")
    received = await uploads.put(user.user_id, upload_id, number, content)
    return {"status": "chunk received", "chunk_number": number, "received_chunks": received}


@router.get("/upload/{upload_id}", summary="What is there of an upload")
async def state(upload_id: str, user: CurrentFilesUser, uploads: UploadsContext) -> dict[str, Any]:
    """The numbers of the chunks that are there: what resumes sends the others."""
    upload, numbers = await uploads.state(user.user_id, upload_id)
    return {
        "upload_id": upload.upload_id,
        "batch_id": upload.batch_id,
        "filename": upload.filename,
        "total_chunks": upload.total_chunks,
        "chunks": numbers,
    }


@router.post("/complete/{root}", status_code=201, summary="Complete an upload")
async def complete(
    root: Root, body: OneUpload, user: CurrentFilesUser, panel: PanelContext, uploads: UploadsContext
) -> dict[str, str]:
    """Makes one file of the chunks, as a whole or not at all; asked for again, the answer is the same."""
    batch_id = None if body.batch_id is None else _batch(body.batch_id)
    wanted = Wanted(body.upload_id, safe_name(body.filename), body.total_chunks, batch_id)
    fid = body.fid or (user.grant.fid if user.grant else None)
    if fid is None:
        check_root(root)
        upload = await uploads.seal(user.user_id, wanted)
        return _answer(Completed(upload.upload_id, upload.upload_id, upload.batch_id, wanted.filename, ""), root)
    folder = await folder_of(panel, user, fid, root)
    return _answer(await uploads.complete(user.user_id, wanted, folder), root)


@router.post("/complete/{fid}/{batch}/{root}", status_code=201, summary="Complete a batch")
async def complete_batch(
    fid: str,
    batch: str,
    root: Root,
    body: dict[_Id, BatchItem],
    user: CurrentFilesUser,
    panel: PanelContext,
    uploads: UploadsContext,
) -> list[dict[str, str]]:
    """As for one, for all uploads of a batch: nothing is put in place unless all can be, and the answer names those
    that can't."""
    if len(body) > MAX_BATCH:
        raise ApiError(400, f"A batch may have {MAX_BATCH:,} files at most.")
    folder = await folder_of(panel, user, fid, root)
    batch_id = _batch(batch)
    wanted = [Wanted(key, safe_name(item.filename), item.total, batch_id) for key, item in body.items()]
    _refuse_clashes(wanted)
    return [_answer(done, root) for done in await uploads.complete_all(user.user_id, wanted, folder)]


@router.delete("/cancel/{upload_id}", status_code=204, summary="Cancel an upload")
async def cancel(upload_id: str, user: CurrentFilesUser, uploads: UploadsContext) -> Response:
    """Removes what there is of it."""
    await uploads.cancel(user.user_id, upload_id)
    return Response(status_code=204)


def _answer(done: Completed, root: str) -> dict[str, str]:
    return {
        "status": "upload complete",
        "completion_id": done.completion_id,
        "batch_id": done.batch_id,
        "final_file": done.filename,
        "final_path": f"{root}/{done.filename}",
    }


def _batch(batch_id: str) -> str:
    # It only says what goes together, and never becomes a part of a key.
    if not _BATCH.fullmatch(batch_id):
        raise ApiError(400, "The batch id is none that /files/init_batch gave.")
    return batch_id


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 9:
        raise ApiError(400, "chunk_number must be a number: 0 for the first chunk.")
    return int(text)


async def _check(content: bytes, checksum: str) -> None:
    if not checksum:
        return
    # Hashing lets go of the interpreter, and a large chunk takes a while.
    found = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()
    if not hmac.compare_digest(found.encode(), checksum.strip().lower().encode()):
        raise ApiError(400, "The chunk is not what its checksum (SHA-256) says: send it again. Nothing was kept.")


def _refuse_clashes(wanted: list[Wanted]) -> None:
    """Two uploads of one name, or a file where another has a folder: one would undo the other."""
    names = {one.filename for one in wanted}
    if len(names) < len(wanted):
        seen: set[str] = set()
        twice = next(one.filename for one in wanted if one.filename in seen or seen.add(one.filename))  # type: ignore[func-returns-value]
        raise ApiError(400, f"{twice} comes twice in this batch.")
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if (above := "/".join(parts[:depth])) in names:
                raise ApiError(400, f"{above} is a file and a folder in this batch.")
