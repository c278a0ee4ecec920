"""Results with a look: ``Markdown``, ``HTML`` and ``Text``, as an entry point may return them."""

from __future__ import annotations

from .dtypes import HTML, Markdown, Text

__all__ = ["HTML", "Markdown", "Text"]
