"""Fields to choose with: a checkbox, and one of several options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .element import Field
from .html import escaped, shown, tag

ON = (True, "true", "on", "1")
"""What makes a checkbox true; 1 equals True."""


@dataclass(eq=False)
class Checkbox(Field):
    """A box that is on or off; the endpoint gets True or False."""

    type: ClassVar[str] = "boolean"
    keys: ClassVar[tuple[str, ...]] = ("name", "label", "value", "option")
    name: str
    option: str | None = None
    label: str | None = None
    value: Any = False
    error: list[str] | None = None
    required: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.option = "on" if self.option is None else self.option

    def parse_value(self, value: Any) -> bool:
        """True for true, "true", "on", "1" and 1; everything else is off."""
        return value in ON

    def default(self) -> bool:
        """As :meth:`Element.default`: browsers leave out boxes that are off."""
        return False

    def fill(self, value: Any) -> None:
        """As :meth:`Element.fill`."""
        self.value = self.parse_value(value)

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`; the option's text stands beside the box, the value is always "on"."""
        # The label around the box names it; the legend is the group's.
        named = {key: value for key, value in attributes.items() if key not in ("aria-label", "aria-labelledby")}
        box = {**named, "type": "checkbox", "value": "on", "checked": self.parse_value(self.value)}
        return tag("label", {"class": "inputs-option"}, tag("input", box) + " " + tag("span", {}, escaped(self.option)))


@dataclass(eq=False)
class InputOption(Field):
    """One option of a :class:`Select`: ``name`` is what is sent, ``value`` whether it is chosen."""

    type: ClassVar[str] = "option"
    keys: ClassVar[tuple[str, ...]] = ("name", "label", "value")
    name: str
    label: str | None = None
    value: Any = False
    error: list[str] | None = None
    required: bool = field(default=False, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`; it makes sense inside of a select only."""
        text = escaped(self.name if self.label is None else self.label)
        return tag("option", {"value": shown(self.name), "selected": bool(self.value)}, text)

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        return self.render()


@dataclass(eq=False)
class Select(Field):
    """One of several options; the endpoint gets the option's name.

    Args:
        option: options, or objects with their ``name``, ``label`` and ``value``.
        value: name of the chosen option; by default the option that says so itself.

    Attributes:
        options: its own copies of the options.
    """

    type: ClassVar[str] = "select"
    keys: ClassVar[tuple[str, ...]] = ("name", "label", "value", "option", "error")
    name: str
    option: Sequence[InputOption | Mapping[str, Any]] = ()
    label: str | None = None
    value: Any = None
    error: list[str] | None = None
    required: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.option if isinstance(self.option, (list, tuple)) else []
        self.options = [_option(option) for option in given if _is_option(option)]
        self.option = self.options
        self._flag()

    def to_dict(self) -> dict[str, Any]:
        """As :meth:`Element.to_dict`."""
        return {
            **super().to_dict(),
            "option": [option.to_dict() for option in self.options],
            "error": list(self.error or []),
        }

    def problem(self, value: Any) -> str | None:
        """As :meth:`Field.problem`."""
        known = not isinstance(value, (list, dict, set)) and shown(value) in {shown(o.name) for o in self.options}
        return None if known else "Please choose one of the options."

    def fill(self, value: Any) -> None:
        """As :meth:`Element.fill`."""
        self.value = value
        self._flag()

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        return tag("select", attributes, "".join(option.render() for option in self.options))

    def _flag(self) -> None:
        """Marks the option that ``value`` names, and no other."""
        if self.value is not None:
            for option in self.options:
                option.value = shown(option.name) == shown(self.value)


def _is_option(given: Any) -> bool:
    return isinstance(given, InputOption) or (isinstance(given, Mapping) and given.get("name") is not None)


def _option(given: InputOption | Mapping[str, Any]) -> InputOption:
    """A select's own copy, so that options shared between selects stay apart."""
    if isinstance(given, InputOption):
        return InputOption(given.name, given.label, given.value)
    return InputOption(given["name"], given.get("label"), given.get("value", False))
