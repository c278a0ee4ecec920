"""What every element of a form has in common: its JSON, its HTML, how it reads a value and what it accepts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar

from .html import escaped, html_id, shown, tag

REQUIRED = "Please fill in this field."


class Element:
    """Base of all elements. Subclasses are dataclasses whose fields are the published constructor arguments.

    Attributes:
        type: published name of the kind of element.
        keys: attributes published in its JSON, in order.
        name: under which its value travels; None when it has no value.
        error: messages shown at it.
    """

    type: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    name: str | None
    error: list[str] | None

    def __post_init__(self) -> None:
        # A message alone is a list of one; the list is copied, so no two elements ever share one.
        self.error = [self.error] if isinstance(self.error, str) else list(self.error or [])

    def to_dict(self) -> dict[str, Any]:
        """The published JSON object of this element."""
        return {"type": self.type, **{key: _plain(getattr(self, key)) for key in self.keys}}

    def parse_value(self, value: Any) -> Any:
        """What the endpoint gets for a received value. Never changes the element, never fails."""
        return value

    def default(self) -> Any:
        """What counts as received when a body doesn't have this element."""
        return None

    def check(self, value: Any) -> list[str]:
        """Messages that say why a received value isn't acceptable; empty when it is."""
        return []

    def fill(self, value: Any) -> None:
        """Shows a value, as if it were declared. Changes this element."""

    def render(self) -> str:
        """HTML of this element, with everything that isn't ours escaped or sanitised."""
        raise NotImplementedError


class Field(Element):
    """Base of elements that a user fills in: a label, a control, and the messages at it."""

    label: str | None
    value: Any
    required: bool

    def check(self, value: Any) -> list[str]:
        """As :meth:`Element.check`: an empty value breaks only ``required``, any other is read by :meth:`problem`."""
        if empty(value):
            return [REQUIRED] if self.required else []
        problem = self.problem(value)
        return [problem] if problem else []

    def problem(self, value: Any) -> str | None:
        """Why a value that isn't empty can't be accepted, or None."""
        return None

    def fill(self, value: Any) -> None:
        """As :meth:`Element.fill`."""
        self.value = value

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return self._framed(self.control(self._control_attributes()))

    def control(self, attributes: Mapping[str, object]) -> str:
        """HTML of the control alone.

        Args:
            attributes: what all controls have: id, name, required and the references to label and messages.
        """
        raise NotImplementedError

    def _control_attributes(self) -> dict[str, object]:
        return {
            "id": html_id("field", self.name),
            "name": shown(self.name),
            "required": bool(self.required),
            "aria-labelledby": html_id("label", self.name) if self.label else None,
            "aria-label": None if self.label else shown(self.name),
            "aria-invalid": "true" if self.error else None,
            "aria-describedby": html_id("error", self.name) if self.error else None,
        }

    def _framed(self, control: str) -> str:
        legend = tag("legend", {"class": "inputs-label", "id": html_id("label", self.name)}, escaped(self.label))
        return tag(
            "fieldset", {"class": "inputs-field"}, (legend if self.label else "") + control + self._rendered_error()
        )

    def _rendered_error(self) -> str:
        return error_box(self.error, html_id("error", self.name))


def error_box(messages: list[str] | None, element_id: str | None = None, role: str | None = None) -> str:
    """HTML of messages; nothing when there are none."""
    if not messages:
        return ""
    lines = "<br>".join(escaped(message) for message in messages)
    return tag("div", {"class": "inputs-error", "id": element_id, "role": role}, lines)


def empty(value: Any) -> bool:
    """Whether a received value stands for "nothing entered"; zero and false are values."""
    return value is None or value == "" or (isinstance(value, (list, set, tuple, dict)) and not value)


def _plain(value: Any) -> Any:
    """Dates as the texts that HTML and JSON have for them."""
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value
