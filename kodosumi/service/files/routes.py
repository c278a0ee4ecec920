"""``/files/{fid}/{in or out}``: the files of executions, listed, downloaded and removed."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ...error import FileMissing
from ..auth import CurrentFilesUser
from ..context import PanelContext
from ..errors import ApiError
from . import upload_routes
from .access import Root, folder_of, readable_path, safe_name
from .sending import HARMLESS, Sent, attachment, file_response
from .zipping import zipped

router = APIRouter(prefix="/files", tags=["Files"], dependencies=[Depends(readable_path)])

Format = Annotated[str | None, Query(alias="format", max_length=10, description="`zip`: all files as one, streamed.")]

_BINARY = {"schema": {"type": "string", "format": "binary"}}


async def listed(
    fid: str, root: Root, request: Request, user: CurrentFilesUser, panel: PanelContext, wanted: Format = None
) -> Response:
    """Files at any depth, sorted by their paths, which begin with the root; [] for an unknown execution."""
    try:
        folder = await folder_of(panel, user, fid, root)
    except ApiError as exc:
        if exc.status_code != 404 or wanted == "zip":
            raise
        return _json([])
    files = await panel.files.list(folder)
    if wanted != "zip":
        return _json(
            [{"path": f"{root}/{file.path}", "size": file.size, "last_modified": file.last_modified} for file in files]
        )
    headers = HARMLESS | {"Content-Disposition": attachment(f"{fid}-{root}.zip")}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    return Sent(zipped(panel.files, folder, files), 200, headers, "application/zip")


async def download(
    fid: str, root: Root, path: str, request: Request, user: CurrentFilesUser, panel: PanelContext
) -> Response:
    """A file as an attachment, whole or one range of it (``Range``, ``If-Range``); 304 for who has it already."""
    folder = await folder_of(panel, user, fid, root)
    name = safe_name(path)
    try:
        return await file_response(request, panel.files, f"{folder}/{name}")
    except FileMissing:
        raise ApiError(404, f"There is no file {root}/{name}. Cannot retrieve directories.") from None


@router.delete("/{fid}/{root}/{path:path}", status_code=204, summary="Remove a file or a folder")
async def remove(fid: str, root: Root, path: str, user: CurrentFilesUser, panel: PanelContext) -> Response:
    """A folder goes with all that is in it."""
    folder = await folder_of(panel, user, fid, root)
    name = safe_name(path)
    if not await panel.files.remove(f"{folder}/{name}"):
        raise ApiError(404, f"There is no file or folder {root}/{name}.")
    return Response(status_code=204)


def _json(found: list[dict[str, object]]) -> Response:
    return Response(json.dumps(found), media_type="application/json", headers={"Cache-Control": "no-cache"})


for _method in ("GET", "HEAD"):
    _seen = _method == "GET"
    router.add_api_route(
        "/{fid}/{root}",
        listed,
        methods=[_method],
        operation_id=f"files_{_method.lower()}",
        summary="Files of an execution",
        response_class=Response,
        include_in_schema=_seen,
        responses={200: {"content": {"application/json": {}, "application/zip": _BINARY}}},
    )
    router.add_api_route(
        "/{fid}/{root}/{path:path}",
        download,
        methods=[_method],
        operation_id=f"file_{_method.lower()}",
        summary="A file of an execution",
        response_class=Response,
        include_in_schema=_seen,
        responses={
            200: {"content": {"application/octet-stream": _BINARY}},
            206: {"description": "A range of it", "content": {"application/octet-stream": _BINARY}},
            304: {"description": "As the client has it already"},
            416: {"description": "The range lies behind the file's end"},
        },
    )

_stored, router = router, APIRouter()
for _each in (upload_routes.chunks, upload_routes.router, _stored):
    router.include_router(_each)
