"""Chunks in forms: as every client writes them, and as nobody should."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.service.errors import ApiError
from kodosumi.service.files.multipart import form_fields

BOUNDARY = b"xyz"


def body_of(content: bytes, **fields: str) -> tuple[bytes, bytes]:
    """A form as httpx writes it, and its boundary."""
    request = httpx.Request("POST", "http://x", data=fields, files={"chunk": ("blob", content)})
    return request.read(), request.headers["content-type"].partition("boundary=")[2].encode()


@given(st.binary(max_size=3000))
def test_what_a_client_sent_arrives_byte_by_byte(content: bytes) -> None:
    body, boundary = body_of(content, upload_id="a", chunk_number="7")
    assert form_fields(body, boundary) == {"upload_id": b"a", "chunk_number": b"7", "chunk": content}


@given(st.lists(st.sampled_from([b"\r\n", b"--", b"xyz", b"\r\n--xy", b"--xyz--", b"a", b"\n--xyz"]), max_size=12))
def test_content_that_looks_like_a_boundary_is_content_unless_it_is_one(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    body = b'--xyz\r\nContent-Disposition: form-data; name="chunk"\r\n\r\n' + content + b"\r\n--xyz--\r\n"
    if b"\r\n--xyz" not in b"\r\n\r\n" + content:
        assert form_fields(body, BOUNDARY) == {"chunk": content}


def test_a_preamble_padding_and_an_epilogue_are_passed_over() -> None:
    body = b"before\r\n--xyz \t\r\ncontent-disposition:form-data;name=chunk\r\n\r\nx\r\n--xyz-- \r\nafter"
    assert form_fields(body, BOUNDARY) == {"chunk": b"x"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"--xyz",
        b"--xyz\r\n",
        b"--xyz--",
        b'--xyz\r\nContent-Disposition: form-data; name="chunk"\r\n\r\nhalf of it',
        b'--xyz\r\nContent-Disposition: form-data; name="chunk"\r\n\r\nall of it\r\n--xyz',
        b'--xyz\r\nContent-Disposition: form-data; name="chunk"\r\n\r\nall of it\r\n--xyz\r\n',
        b"--xyz junk\r\n\r\n\r\nx\r\n--xyz--",
        b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 30,
    ],
)
def test_what_is_broken_off_is_refused(body: bytes) -> None:
    try:
        fields = form_fields(body, BOUNDARY)
    except ApiError as exc:
        assert exc.status_code == 400
    else:
        assert fields == {}


@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_form_cut_anywhere_never_becomes_another_chunk(content: bytes, length: int) -> None:
    body, boundary = body_of(content, chunk_number="1")
    try:
        fields = form_fields(body[:length], boundary)
    except ApiError:
        return
    assert fields in ({}, {"chunk_number": b"1", "chunk": content})
