"""Ranges and entity tags: what a client asks for, and what it has already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.files import FileInfo
from kodosumi.service.files.ranges import Span, Unsatisfiable, etag_of, is_known, last_modified, span_of

INFO = FileInfo("a", 100, 1_700_000_000.0, "tag")
EMPTY = INFO._replace(size=0)


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=90-", Span(90, 100)),
        ("bytes=90-1000", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("BYTES = 5 - 6 ", Span(5, 7)),
    ],
)
def test_one_range_is_understood(wanted: str, span: Span) -> None:
    assert span_of({"range": wanted}, INFO) == span


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999999-"])
def test_a_range_behind_the_end_cannot_be_satisfied(wanted: str) -> None:
    with pytest.raises(Unsatisfiable):
        span_of({"range": wanted}, INFO)


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_file_has_no_range(wanted: str) -> None:
    with pytest.raises(Unsatisfiable):
        span_of({"range": wanted}, EMPTY)


@pytest.mark.parametrize(
    "wanted", ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=1-2-3"]
)
def test_what_is_no_single_range_asks_for_the_whole(wanted: str) -> None:
    assert span_of({"range": wanted}, INFO) is None


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_ranges(wanted: str) -> None:
    try:
        span = span_of({"range": wanted}, INFO)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= INFO.size


@pytest.mark.parametrize(("condition", "held"), [(etag_of(INFO), True), (last_modified(INFO), True), ('"old"', False)])
def test_a_range_of_other_content_is_answered_with_the_whole(condition: str, held: bool) -> None:
    span = span_of({"range": "bytes=0-1", "if-range": condition}, INFO)
    assert (span is not None) is held


@pytest.mark.parametrize(
    ("known", "held"), [('"tag"', True), ('W/"tag"', True), ('"a", "tag"', True), ("*", True), ('"other"', False)]
)
def test_known_content_is_recognised(known: str, held: bool) -> None:
    assert is_known({"if-none-match": known}, INFO) is held
    assert not is_known({}, INFO)
