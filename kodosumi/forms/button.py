"""Buttons: submit, cancel, and actions that travel as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .element import Element, error_box
from .html import escaped, shown, tag

BACK = "/admin/flow"
"""Where cancel leads when there is no page to go back to."""


@dataclass(eq=False)
class Submit(Element):
    """The button that sends the form."""

    type: ClassVar[str] = "submit"
    keys: ClassVar[tuple[str, ...]] = ("text",)
    text: str = "Submit"
    error: list[str] | None = None
    name: str | None = field(default=None, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return tag("button", {"type": "submit", "class": "inputs-submit"}, escaped(self.text)) + error_box(self.error)


@dataclass(eq=False)
class Cancel(Element):
    """The link that leaves the form."""

    type: ClassVar[str] = "cancel"
    keys: ClassVar[tuple[str, ...]] = ("text",)
    text: str = "Cancel"
    error: list[str] | None = None
    name: str | None = field(default=None, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`.

        Published as a ``javascript:history.back()`` link, which a Content-Security-Policy without inline script
        forbids: the panel's script goes back for ``data-back``; without scripts the link leads to the flows.
        """
        attributes = {"href": BACK, "class": "button inputs-cancel", "data-back": BACK}
        return tag("a", attributes, escaped(self.text)) + error_box(self.error)


@dataclass(eq=False)
class Action(Element):
    """A button that sends the form together with its own name and value.

    ``required`` is published, but not held: of several actions a form, a user presses one.
    """

    type: ClassVar[str] = "action"
    keys: ClassVar[tuple[str, ...]] = ("name", "value", "text")
    name: str
    value: Any = None
    required: bool = False
    text: str | None = None
    error: list[str] | None = None

    def render(self) -> str:
        """As :meth:`Element.render`."""
        text = escaped(self.name if self.text is None else self.text)
        attributes = {"type": "submit", "class": "inputs-action", "name": self.name, "value": shown(self.value)}
        return tag("button", attributes, text) + error_box(self.error)
