"""Forms with one small file in them, read at the speed of memory: a chunk of an upload (RFC 7578, RFC 2046).

A general parser looks at every piece of the network by itself and keeps files on disk. A chunk is bounded and goes on
as a whole, so here the body is taken as one and cut at its boundaries.
"""

from __future__ import annotations

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from ..errors import ApiError

OVERHEAD_BYTES = 65_536
"""What a form may have beside the chunk: boundaries, headers, other fields."""

_MAX_FIELDS = 20
_MAX_HEAD_BYTES = 8_192
_MAX_BOUNDARY_BYTES = 200


async def chunk_form(request: Request, max_bytes: int) -> dict[str, bytes]:
    """The fields of a form by name.

    Args:
        request: whose body it is. max_bytes: of the largest field.

    Raises:
        ApiError: 413, more than that; 400, no such form.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    fields = form_fields(await _body(request, max_bytes), boundary)
    if any(len(value) > max_bytes for value in fields.values()):
        raise too_large(max_bytes)
    return fields


def too_large(max_bytes: int) -> ApiError:
    """The answer to a chunk that is larger than the server takes."""
    return ApiError(413, f"A chunk may have {max_bytes:,} bytes at most (KODO_SAVE_CHUNK_SIZE): send smaller ones.")


def form_fields(body: bytes | bytearray, boundary: bytes) -> dict[str, bytes]:
    """The fields of a ``multipart/form-data`` body; of equal names the last.

    Raises:
        ApiError: 400, it is none, or it is broken off.
    """
    first = b"--" + boundary
    between = b"\r\n" + first
    at = 0 if body.startswith(first) else body.find(between) + 2
    if at == 1:
        raise _malformed("it has no boundary")
    fields: dict[str, bytes] = {}
    at += len(first)
    for _ in range(_MAX_FIELDS + 1):
        if body[at : at + 2] == b"--":
            return fields
        line = body.find(b"\r\n", at, at + _MAX_BOUNDARY_BYTES)
        head = body.find(b"\r\n\r\n", line, line + _MAX_HEAD_BYTES)
        if line < 0 or head < 0 or body[at:line].strip(b" \t"):
            raise _malformed("it is broken off")
        end = body.find(between, head + 4)
        if end < 0:
            raise _malformed("it is broken off")
        with memoryview(body) as view:
            fields[_name(bytes(view[line:head]))] = bytes(view[head + 4 : end])
        at = end + len(between)
    raise _malformed("it has too many fields")


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY_BYTES:
        raise ApiError(400, "Send multipart/form-data with the fields upload_id, chunk_number and chunk.")
    return boundary


async def _body(request: Request, max_bytes: int) -> bytearray:
    limit = max_bytes + OVERHEAD_BYTES
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large(max_bytes)
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise too_large(max_bytes)
    except ClientDisconnect:
        raise _malformed("it is broken off") from None
    return body


def _name(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return parse_options_header(value)[1].get(b"name", b"").decode("utf-8", "replace")
    return ""


def _malformed(reason: str) -> ApiError:
    return ApiError(400, f"The form cannot be read: {reason}.")
