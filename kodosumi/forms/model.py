"""Model: a form as its author declares it, as JSON, as HTML, and as the rules for what comes back."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from .button import Action, Cancel, Submit
from .choice import Checkbox, InputOption, Select
from .display import HR, HTML, Break, Errors, Markdown
from .element import Element
from .errors import GLOBAL
from .files import InputFiles
from .html import shown
from .moment import InputDate, InputDateTime, InputTime
from .number import InputNumber
from .text import InputArea, InputPassword, InputText

logger = logging.getLogger(__name__)

ELEMENTS: dict[str, type[Element]] = {
    kind.type: kind
    for kind in (
        HTML,
        Markdown,
        Break,
        HR,
        Errors,
        InputText,
        InputNumber,
        InputPassword,
        InputDate,
        InputTime,
        InputDateTime,
        InputArea,
        Checkbox,
        InputOption,
        Select,
        Submit,
        Cancel,
        Action,
        InputFiles,
    )
}
"""Every kind of element by its published name."""


class Model:
    """A form.

    Args:
        children: its elements, from top to bottom.
    """

    def __init__(self, *children: Element) -> None:
        self.children: list[Element] = list(children)

    def get_model(self) -> list[dict[str, Any]]:
        """The published JSON objects of all elements."""
        return [child.to_dict() for child in self.children]

    def get_model_json(self) -> str:
        """``{"elements": [...]}`` as JSON text."""
        return json.dumps({"elements": self.get_model()}, default=str)

    def render(self) -> str:
        """HTML of all elements; the ``form`` tag around it belongs to the page."""
        return "\n".join(child.render() for child in self.children)

    def check(self, values: Mapping[str, Any]) -> dict[str, list[str]]:
        """Messages by field for everything in received values that breaks what the form declares; empty when all holds.

        Args:
            values: as received, before :meth:`parse`; missing fields count as their default.
        """
        found: dict[str, list[str]] = {}
        for child in self._named():
            messages = child.check(_received(child, values))
            if messages:
                found.setdefault(str(child.name), []).extend(messages)
        return found

    def parse(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What an endpoint gets as ``inputs``: one value for each named element, nothing else. Changes nothing.

        Args:
            values: as received; a missing checkbox is off, any other missing field is None.
        """
        return {str(child.name): _parsed(child, _received(child, values)) for child in self._named()}

    def set_data(self, data: Mapping[str, Any]) -> None:
        """Shows values, as if they were declared. Changes this model: take a :meth:`copy` of a shared one.

        Args:
            data: by name. Missing checkboxes are off; other missing fields, passwords and files stay as they are.
        """
        for child in self._named():
            if isinstance(child, Checkbox) or child.name in data:
                child.fill(_received(child, data))

    def copy(self) -> Self:
        """A model of its own, which can be filled without changing this one."""
        return copy.deepcopy(self)

    @classmethod
    def model_validate(
        cls, elements: Iterable[Mapping[str, Any]], errors: Mapping[str, Sequence[str] | str] | None = None
    ) -> Self:
        """A model from its published JSON, as it comes from an app.

        What isn't an element, or lacks a part that it can't be without, is logged and left out.

        Args:
            elements: as :meth:`get_model` gives them.
            errors: messages by name, shown at their fields; those without a field, at the top.
        """
        model = cls(*(child for child in map(_element, elements) if child is not None))
        model._attach({name: _texts(messages) for name, messages in (errors or {}).items()})
        return model

    def _named(self) -> list[Element]:
        return [child for child in self.children if child.name is not None]

    def _attach(self, errors: Mapping[str, list[str]]) -> None:
        homeless: list[str] = []
        for name, messages in errors.items():
            home = next((child for child in self.children if messages and shown(child.name) == name), None)
            if home is not None:
                home.error = [*(home.error or []), *messages]
            else:
                homeless.extend(messages if name == GLOBAL else (f"{name}: {message}" for message in messages))
        if homeless:
            self._notices().extend(homeless)

    def _notices(self) -> list[str]:
        """The list of messages that belong to no field; its element is made when the form has none."""
        place = next((child for child in self.children if isinstance(child, Errors)), None)
        if place is None:
            self.children.insert(0, place := Errors())
        place.error = place.error or []
        return place.error


def _received(child: Element, values: Mapping[str, Any]) -> Any:
    return values.get(str(child.name), child.default())


def _parsed(child: Element, value: Any) -> Any:
    return child.filenames(value) if isinstance(child, InputFiles) else child.parse_value(value)


def _texts(messages: Any) -> list[str]:
    return [shown(message) for message in messages] if isinstance(messages, (list, tuple)) else [shown(messages)]


def _element(data: Any) -> Element | None:
    """An element from its JSON, or None with a line in the log."""
    kind = ELEMENTS.get(str(data.get("type"))) if isinstance(data, Mapping) else None
    if kind is None:
        logger.warning("a form has an element of unknown type: %.200r", data)
        return None
    accepted = {part.name for part in dataclasses.fields(kind) if part.init}  # type: ignore[arg-type]
    given = {key: value for key, value in data.items() if key in accepted}
    if "error" in given:
        given["error"] = _texts(given["error"] or [])
    try:
        return kind(**given)
    except TypeError as exc:
        logger.warning("a form has an incomplete element: %s in %.200r", exc, data)
        return None
