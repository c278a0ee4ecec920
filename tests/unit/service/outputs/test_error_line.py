"""The one line that says why a run failed."""

from __future__ import annotations

import traceback

import pytest

from kodosumi.error import KodosumiError
from kodosumi.service.error_line import error_line


class CustomError(KodosumiError):
    """Of an author's own module."""


def text_of(exc: BaseException, cause: BaseException | None = None) -> str:
    try:
        try:
            if cause is not None:
                raise cause
        finally:
            raise exc
    except BaseException as caught:
        return "".join(traceback.format_exception(caught))


@pytest.mark.parametrize(
    ("exc", "line"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (CustomError("no money"), "CustomError: no money"),
        (KodosumiError(), "KodosumiError"),
        (ValueError("one\ntwo\n\n  three"), "ValueError: one\ntwo\n\n  three"),
        (KeyError("a.b"), "KeyError: 'a.b'"),
        (ExceptionGroup("several", [ValueError("x")]), "ExceptionGroup: several (1 sub-exception)"),
    ],
)
def test_the_error_is_type_and_message_whatever_the_class(exc: Exception, line: str) -> None:
    assert error_line(text_of(exc)) == line


def test_of_chained_errors_it_is_the_last() -> None:
    assert error_line(text_of(ValueError("last"), RuntimeError("first"))) == "ValueError: last"


def test_a_syntax_error_is_found_too() -> None:
    try:
        compile("def f(:", "x.py", "exec")
    except SyntaxError as exc:
        assert error_line("".join(traceback.format_exception(exc))).startswith("SyntaxError: ")


@pytest.mark.parametrize(
    "text", ["killed by admin", "lost.its.runner: gone", "", "Traceback (most recent call last):\n"]
)
def test_a_text_that_is_no_traceback_is_its_own_message(text: str) -> None:
    assert error_line(text) == text.strip() or not error_line(text)


def test_what_was_left_out_of_a_long_traceback_is_not_the_error() -> None:
    text = text_of(ValueError("boom"))
    frames, _, last = text.rpartition("\n    ")
    assert error_line(f"{frames}\n… 1,234 characters left out …\n    {last}") == "ValueError: boom"
