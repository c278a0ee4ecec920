"""The field for a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .element import Field
from .html import shown, tag
from .pattern import pattern_problem
from .rules import number_of, off_step, out_of_bounds
from .text import InputText


@dataclass(eq=False)
class InputNumber(Field):
    """A number; it reaches the endpoint as it was sent, text as text.

    Steps count from ``min_value``, else from ``value``, else from zero, as in HTML. Without ``step``, any number will
    do.
    """

    type: ClassVar[str] = "number"
    keys: ClassVar[tuple[str, ...]] = (*InputText.keys, "min_value", "max_value", "step")
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    size: int | None = None
    pattern: str | None = None
    min_value: int | float | None = None
    max_value: int | float | None = None
    step: int | float | str | None = None
    error: list[str] | None = None

    def problem(self, value: Any) -> str | None:
        """As :meth:`Field.problem`."""
        number = number_of(value)
        if number is None:
            return "Please enter a number."
        base = number_of(self.min_value)
        base = number_of(self.value) if base is None else base
        return (
            out_of_bounds(number, number_of(self.min_value), number_of(self.max_value))
            or off_step(number, base, number_of(self.step))
            or pattern_problem(self.pattern, shown(value))
        )

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        own = {
            "value": None if self.value is None else shown(self.value),
            "placeholder": self.placeholder,
            "min": self.min_value,
            "max": self.max_value,
            # Without it browsers take whole numbers only, which nobody declared.
            "step": "any" if self.step is None else self.step,
        }
        return tag("input", {**attributes, "type": self.type, **own})
