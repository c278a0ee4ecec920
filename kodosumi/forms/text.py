"""Fields for text: a line, a password, several lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .element import Field
from .html import escaped, shown, tag
from .pattern import pattern_problem
from .rules import length_problem

NOT_TEXT = "Please enter text."


@dataclass(eq=False)
class InputText(Field):
    """A line of text."""

    type: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = ("name", "label", "value", "required", "placeholder", "size", "pattern")
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    size: int | None = None
    pattern: str | None = None
    error: list[str] | None = None

    def problem(self, value: Any) -> str | None:
        """As :meth:`Field.problem`; numbers and booleans pass as their text, since API callers send them so."""
        return NOT_TEXT if _structured(value) else pattern_problem(self.pattern, shown(value))

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        own = {"placeholder": self.placeholder, "size": self.size, "pattern": self.pattern}
        return tag("input", {**attributes, "type": self.type, "value": _written(self.value), **own})


@dataclass(eq=False)
class InputPassword(Field):
    """A line of text that isn't shown; what a user entered is never sent back to them."""

    type: ClassVar[str] = "password"
    keys: ClassVar[tuple[str, ...]] = (*InputText.keys, "min_length", "max_length")
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    size: int | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    error: list[str] | None = None

    def problem(self, value: Any) -> str | None:
        """As :meth:`Field.problem`."""
        if _structured(value):
            return NOT_TEXT
        text = shown(value)
        return length_problem(text, self.min_length, self.max_length) or pattern_problem(self.pattern, text)

    def fill(self, value: Any) -> None:
        """Does nothing: a password that was entered must not appear in a page again."""

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        own = {
            "placeholder": self.placeholder,
            "size": self.size,
            "pattern": self.pattern,
            "minlength": self.min_length,
            "maxlength": self.max_length,
            # The form stands in the panel's pages: no browser may fill in the panel's saved password for an app.
            "autocomplete": "new-password",
        }
        return tag("input", {**attributes, "type": self.type, "value": _written(self.value), **own})


@dataclass(eq=False)
class InputArea(Field):
    """Several lines of text."""

    type: ClassVar[str] = "textarea"
    keys: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "rows",
        "cols",
        "max_length",
    )
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    rows: int | None = None
    cols: int | None = None
    max_length: int | None = None
    error: list[str] | None = None

    def problem(self, value: Any) -> str | None:
        """As :meth:`Field.problem`."""
        return NOT_TEXT if _structured(value) else length_problem(shown(value), None, self.max_length)

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        own = {
            "placeholder": self.placeholder,
            "rows": self.rows,
            "cols": self.cols,
            "maxlength": self.max_length,
        }
        # The parser drops one line break right after the tag: ours, so that the text keeps its own.
        return tag("textarea", {**attributes, **own}, "\n" + escaped(self.value))


def _structured(value: Any) -> bool:
    return not isinstance(value, (str, int, float))


def _written(value: Any) -> str | None:
    return None if value is None else shown(value)
