"""The field for files: uploaded beforehand through the panel, what the form carries is which."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .element import REQUIRED, Field, empty
from .html import tag

NOT_UPLOADED = "Please upload the files first: what is sent here is the list of the uploads."


@dataclass(eq=False)
class InputFiles(Field):
    """Files or a folder; the endpoint gets the set of their names, or None.

    What travels is JSON text: ``{"batchId": …, "items": {upload_id: {"filename": …, "totalChunks": …}}, "name": …}``.
    """

    type: ClassVar[str] = "file"
    keys: ClassVar[tuple[str, ...]] = ("name", "label", "value", "required", "multiple", "directory")
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    multiple: bool = False
    directory: bool = False
    error: list[str] | None = None

    def filenames(self, value: Any) -> set[str] | None:
        """The names of the uploaded files that a received value lists; None when it lists none or isn't such a list."""
        if isinstance(value, (set, frozenset)):
            return set(value) or None
        return set(_uploads(value) or ()) or None

    def check(self, value: Any) -> list[str]:
        """As :meth:`Element.check`."""
        names = list(value) if isinstance(value, (set, frozenset)) else [] if empty(value) else _uploads(value)
        if names is None:
            return [NOT_UPLOADED]
        if not names:
            return [REQUIRED] if self.required else []
        several = self.multiple or self.directory
        return [] if several or len(names) == 1 else ["Please choose one file."]

    def fill(self, value: Any) -> None:
        """Does nothing: browsers don't let a page fill a file field."""

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        own = {"multiple": bool(self.multiple or self.directory), "webkitdirectory": bool(self.directory)}
        return tag("input", {**attributes, "type": self.type, **own})


def _uploads(value: Any) -> list[str] | None:
    """File names in the JSON text of an upload batch; None when it isn't one."""
    try:
        batch = json.loads(value) if isinstance(value, (str, bytes)) and value else value
        items = batch["items"].values()
        names = [item["filename"] for item in items]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return names if all(isinstance(name, str) and name for name in names) else None
