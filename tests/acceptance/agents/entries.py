"""Entry points that hand over, print and raise what no author should, and some that a name must not reach."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

from kodosumi.core import KodosumiError

NOT_CALLABLE = 42
BIG_RESULT_BYTES = 100 * 1024 * 1024
LONG_LINE_CHARS = 1_000_000
PATHS = ("../../etc/passwd", "..\\..\\windows", "/etc/passwd", "a/b", "C:\\x", "..%2f..%2fetc", "nul\0byte")


class Sulking:
    """An object that refuses to be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        raise RuntimeError("no attributes")


class Unspeakable(Exception):
    """An exception without a readable text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def unserialisable() -> dict[str, object]:
    """A result of everything that JSON does not know."""
    circle: dict[str, object] = {}
    circle["self"] = circle
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]

    def endless() -> Iterator[int]:
        yield 1

    return {
        "sulking": Sulking(),
        "lock": threading.Lock(),
        "circle": circle,
        "deep": deep,
        "generator": endless(),
        "lambda": lambda: None,
        "infinite": float("inf"),
        "huge": 10**6000,
        ("a", "tuple"): {1, "two"},
        "file": sys.__stdout__,
    }


def sulking() -> Sulking:
    """A result that raises on whatever it is asked."""
    return Sulking()


def big_result() -> str:
    """A result of 100 MB."""
    return "x" * BIG_RESULT_BYTES


def long_line() -> str:
    """One print of a million characters."""
    print("y" * LONG_LINE_CHARS)
    return "done"


def invalid_utf8() -> dict[str, object]:
    """Bytes and texts that are no Unicode, every way out."""
    print("before")
    os.write(1, b"\xff\xfe by the descriptor \x80\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\xc3\x28 by the buffer\n")
    sys.stdout.buffer.flush()
    print("a lone surrogate \ud800, a NUL \0")
    print("an error \udcff", file=sys.stderr)
    return {"lone \udfff": "\ud83d", "bytes": b"\xff\x00", "nul": "\0"}


def paths(tracer: object) -> dict[str, object]:
    """Path separators as prints, keys and values."""
    for path in PATHS:
        print(path)
    return {path: path for path in PATHS}


def exits() -> None:
    """Ends its process, as it thinks."""
    sys.exit(3)


def without_text() -> None:
    """Raises without a word."""
    raise KodosumiError


def unspeakable() -> None:
    """Raises what cannot be shown."""
    raise Unspeakable


def invalid_error() -> None:
    """Raises a text that is no Unicode."""
    raise ValueError("broken \ud800 \0 text")


def echo(inputs: dict[str, object]) -> dict[str, object]:
    """What came in."""
    return inputs
