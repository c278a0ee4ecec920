"""Elements that show something and have no value: texts, gaps, rulers and the form's own messages."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import ClassVar

from ..events import storable
from ..markup import markdown_to_html, sanitised
from .element import Element, error_box
from .errors import GLOBAL
from .html import shown


@dataclass(eq=False)
class HTML(Element):
    """HTML of the author, sanitised."""

    type: ClassVar[str] = "html"
    keys: ClassVar[tuple[str, ...]] = ("text",)
    text: str
    name: str | None = field(default=None, init=False)
    error: list[str] | None = field(default=None, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return sanitised(storable(shown(self.text)))


@dataclass(eq=False)
class Markdown(Element):
    """Markdown of the author; common indentation is removed first. Sanitised."""

    type: ClassVar[str] = "markdown"
    keys: ClassVar[tuple[str, ...]] = ("text",)
    text: str
    name: str | None = field(default=None, init=False)
    error: list[str] | None = field(default=None, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return markdown_to_html(textwrap.dedent(storable(shown(self.text))).strip())


@dataclass(eq=False)
class Break(Element):
    """A gap."""

    type: ClassVar[str] = "break"
    keys: ClassVar[tuple[str, ...]] = ("text",)
    text: str = field(default='<div class="space"></div>', init=False)
    name: str | None = field(default=None, init=False)
    error: list[str] | None = field(default=None, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return self.text


@dataclass(eq=False)
class HR(Element):
    """A ruler."""

    type: ClassVar[str] = "hr"
    keys: ClassVar[tuple[str, ...]] = ("text",)
    text: str = field(default='<hr class="medium">', init=False)
    name: str | None = field(default=None, init=False)
    error: list[str] | None = field(default=None, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return self.text


@dataclass(eq=False)
class Errors(Element):
    """The place of messages that belong to no single field; its published name is ``_global_``."""

    type: ClassVar[str] = "errors"
    keys: ClassVar[tuple[str, ...]] = ()
    error: list[str] | None = None
    name: str | None = field(default=GLOBAL, init=False)

    def render(self) -> str:
        """As :meth:`Element.render`."""
        return error_box(self.error, role="alert")
