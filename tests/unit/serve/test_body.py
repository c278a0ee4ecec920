"""What counts as the fields of a request, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from kodosumi.serve.body import BodyError, read_fields

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def part(name: str, value: str, more: str = "") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


async def read(body: bytes | str, kind: str | None = None) -> dict[str, Any]:
    content = body.encode() if isinstance(body, str) else body

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [] if kind is None else [(b"content-type", kind.encode())]
    return await read_fields(Request({"type": "http", "method": "POST", "headers": headers}, receive))


@pytest.mark.parametrize(
    ("body", "kind", "fields"),
    [
        ('{"tasks": 100}', "application/json", {"tasks": 100}),
        ('{"tasks": 100}', "application/json; charset=utf-8", {"tasks": 100}),
        ('{"tasks": 100}', URLENCODED, {"tasks": 100}),
        (' {"a": "b=c"} ', URLENCODED, {"a": "b=c"}),
        ('{"tasks": 100}', "text/plain;charset=UTF-8", {"tasks": 100}),
        ('{"tasks": 100}', None, {"tasks": 100}),
        ("tasks=100&name=a%20b+c&empty=", URLENCODED, {"tasks": "100", "name": "a b c", "empty": ""}),
        ("a=1&a=2", URLENCODED, {"a": "2"}),
        ("", URLENCODED, {}),
        (part("a", "1") + part("b", "ä") + "--b--\r\n", MULTIPART, {"a": "1", "b": "ä"}),
        (part("f", "", '; filename=""') + part("g", "x", '; filename="g.txt"') + "--b--\r\n", MULTIPART, None),
    ],
)
async def test_json_and_forms_are_read(body: str, kind: str | None, fields: dict[str, Any] | None) -> None:
    assert await read(body, kind) == ({"f": "", "g": "g.txt"} if fields is None else fields)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", None),
        ("", "application/json"),
        ("tasks", URLENCODED),
        ('{"tasks": 100', URLENCODED),
        ('{"a": "b=c"', URLENCODED),
        ("[1]", URLENCODED),
        ("[1]", "application/json"),
        ("5", "application/json"),
        ("null", "application/json"),
        ('{"a": NaN}', "application/json"),
        ('{"a": ' + "9" * 5000 + "}", "application/json"),
        ("[" * 100_000, "application/json"),
        (b"\xff\xfe{", "application/json"),
        (b"\xff=\xff", URLENCODED),
        ("a=%ff", URLENCODED),
        ("a=1", "application/json"),
        ("a=1", None),
        ("<xml/>", "application/xml"),
        ("nonsense", MULTIPART),
        (part("a", "1"), "multipart/form-data"),
        ("&".join(["a=1"] * 100_000), URLENCODED),
    ],
)
async def test_anything_else_is_refused_with_what_to_send(body: str | bytes, kind: str | None) -> None:
    with pytest.raises(BodyError, match="JSON object"):
        await read(body, kind)


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    st.sampled_from([None, "application/json", URLENCODED, MULTIPART, "text/plain", "", ";"]),
)
async def test_no_body_does_worse_than_being_refused(body: bytes, kind: str | None) -> None:
    try:
        fields = await read(body, kind)
    except BodyError:
        return
    assert isinstance(fields, dict) and json.dumps(fields)
