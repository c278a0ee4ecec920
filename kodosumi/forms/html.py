"""HTML of forms, built so that nothing an author, a user or an app wrote can leave its place."""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Mapping

from ..events import storable

_VOID = frozenset({"input", "br", "hr"})


def shown(value: object) -> str:
    """A value as text; None is empty, zero and false are values."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def escaped(value: object) -> str:
    """A value as text that is safe in HTML content and in quoted attributes."""
    return html.escape(storable(shown(value)), quote=True)


def tag(name: str, attributes: Mapping[str, object], content: str = "") -> str:
    """One HTML element.

    Args:
        name: of the tag. attributes: None and False leave one out, True writes its bare name, anything else is escaped.
        content: HTML already safe; void elements have none.
    """
    written = "".join(
        f" {key}" if value is True else f' {key}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{content}</{name}>"


def html_id(prefix: str, name: object) -> str:
    """An id for a field, the same for the same name, without characters that would split or end a reference."""
    text = shown(name)
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", text)
    # A name that had to be changed could meet another's id.
    return f"{prefix}-{plain}" if plain == text else f"{prefix}-{plain}-{zlib.crc32(storable(text).encode()):08x}"
