"""Patterns mean what HTML means, and none of them can keep the server busy."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.forms.pattern import _compiled, check_declared, pattern_problem


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\d{3}", "123", "1234"),
        (r"\d+", "12", "1\n"),
        (r"^\d+$", "12", "12\n"),
        ("a|bc", "bc", "abc"),
        (r"\w+", "abc_1", "ä"),
        (r"[\w.-]+@[\w-]+\.[a-z]+", "x.y@ab.de", "x@y@ab.de"),
        (r"\p{L}+", "ä", "1"),
        (r"(?<year>\d{4})-(?<month>\d\d)", "2026-01", "2026"),
        (r"(?=.*\d)(?=.*[a-z]).{8,}", "abcdefg1", "abcdefgh"),
        (r"(.)\1", "aa", "ab"),
        (r"(?!admin).*", "bob", "administrator"),
        (r"\-\/\'", "-/'", "-"),
        ("[[a]", "[", "b"),
    ],
)
def test_the_whole_text_must_match(pattern: str, good: str, bad: str) -> None:
    assert pattern_problem(pattern, good) is None
    assert pattern_problem(pattern, bad)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+", "a" * 90_000 + "!"),
        ("(a|a)*", "a" * 90_000 + "!"),
        ("(?!x)(a+)+", "a" * 90_000 + "!"),
        (r"(?!x)(?:a*)*b", "a" * 90_000),
        (r"(?!x)a*a*a*a*a*a*a*b", "a" * 90_000),
        (r"(?=a*a*a*a*b)a*", "a" * 1_000),
        (r"(a*)(a*)(a*)\1\2\3b", "a" * 1_000),
    ],
)
def test_a_catastrophic_pattern_answers_soon(pattern: str, text: str) -> None:
    for length in (20, 30, 60, 200, len(text)):
        pattern_problem(pattern, text[-length:])


@pytest.mark.parametrize("pattern", ["[", "(", "*", "(?!x)(a+)+", "x" * 6000])
def test_a_pattern_that_cannot_be_held_is_told_once_at_declaration_and_lets_all_pass(
    pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    _compiled.cache_clear()
    with caplog.at_level(logging.WARNING):
        check_declared(pattern)
        assert pattern_problem(pattern, "anything") is None
    assert len(caplog.records) == 1 and "not enforced" in caplog.text


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_pattern_and_no_text_make_it_fail(pattern: str, text: str) -> None:
    pattern_problem(pattern, text)
