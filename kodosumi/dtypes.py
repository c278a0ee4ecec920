"""Published value types: what a run returns to be shown (``Markdown``, ``HTML``, ``Text``), and files it came with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


class _Body(BaseModel):
    """A text and how to show it.

    Args:
        args: one text, one list of texts (joined by newline), or several texts.

    Raises:
        ValueError: a single argument that is neither text nor a list.
    """

    body: str

    def __init__(self, *args: str | Iterable[Any], **data: Any) -> None:
        if args:
            data["body"] = _joined(args)
        super().__init__(**data)

    def __str__(self) -> str:
        return self.body


def _joined(args: tuple[Any, ...]) -> str:
    if len(args) > 1:
        return "\n".join(str(arg) for arg in args)
    (only,) = args
    if isinstance(only, str):
        return only
    if isinstance(only, list):
        return "\n".join(str(line) for line in only)
    raise ValueError(f"a text or a list of texts is needed, not {type(only).__name__}; convert it with str() first")


class Markdown(_Body):
    """Text in Markdown; sanitised where it is shown."""


class HTML(_Body):
    """Text in HTML; sanitised where it is shown."""


class Text(_Body):
    """Plain text, shown as it is."""


class File(BaseModel):
    """One file of an execution.

    Attributes:
        path: with its root, as in ``in/report.pdf``.
        size: in bytes. last_modified: seconds since the epoch.
    """

    path: str
    size: int
    last_modified: float


class Upload(BaseModel):
    """The files a run was started with."""

    files: list[File]
