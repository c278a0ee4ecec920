"""The fields of a request: from JSON, from a form, or from JSON that a client called a form.

A body that can't be read is refused. It never becomes a run with empty inputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

EXPECTED = (
    'send the fields as a JSON object, such as {"name": "value"} with content type application/json, '
    "or as a form (application/x-www-form-urlencoded or multipart/form-data)"
)
MAX_FORM_FIELD_BYTES = 64 * 1024 * 1024
"""Largest field of a multipart form."""

MAX_FIELDS = 1000
"""Fields of a form."""


class BodyError(ValueError):
    """A body that can't be read as fields; the text says what to send instead."""


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields that a request carries, as they were sent; of a field sent twice, the last.

    ``curl -d`` without a content type says "urlencoded" whatever it sends, so that body is tried as JSON first.

    Raises:
        BodyError: neither a JSON object nor a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request)
    body = await request.body()
    if kind == "application/x-www-form-urlencoded":
        return _urlencoded(body)
    return _json_object(body)


async def _multipart(request: Request) -> dict[str, Any]:
    try:
        form = await request.form(max_fields=MAX_FIELDS, max_part_size=MAX_FORM_FIELD_BYTES)
    except (HTTPException, MultiPartException, ValueError, KeyError) as exc:
        reason = getattr(exc, "detail", None) or getattr(exc, "message", None) or exc
        raise BodyError(f"The body isn't a multipart form ({reason}): {EXPECTED}.") from exc
    # An upload within the form is its file name; a file field that was left empty has none.
    return _single((name, value if isinstance(value, str) else value.filename) for name, value in form.multi_items())


def _urlencoded(body: bytes) -> dict[str, Any]:
    text = body.strip()
    if not text:
        return {}  # browsers send this for a form without fields
    if text[:1] in b'{["' or b"=" not in text:
        return _json_object(body)
    try:
        return _single(parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError as exc:
        raise BodyError(f"The body isn't a urlencoded form ({exc}): {EXPECTED}.") from exc


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError) as exc:
        raise BodyError(f"The body isn't JSON ({exc}): {EXPECTED}.") from exc
    if not isinstance(value, dict):
        raise BodyError(f"The body is JSON, but not an object: {EXPECTED}.")
    return value


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _single(pairs: Iterable[tuple[str, str | None]]) -> dict[str, Any]:
    return dict(pairs)
