"""The field for files: uploaded beforehand through the panel, what the form carries is which."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..error import BadPath
from ..files import checked
from .element import REQUIRED, Field, empty
from .html import shown, tag

NOT_UPLOADED = "Please upload the files first: what is sent here is the list of the uploads."
ONE_FILE = "Please choose one file."
NO_FOLDER = "Please choose files, not a folder."

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What the panel's ids of uploads and batches look like: a text of any other kind must not become a part of a URL."""

_MAX_CHUNKS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file.

    Attributes:
        id: of the upload. filename: safe below any folder, with slashes. total_chunks: it was sent in so many.
    """

    id: str
    filename: str
    total_chunks: int


@dataclass(frozen=True, slots=True)
class UploadBatch:
    """The files of one field.

    Attributes:
        id: of the batch. uploads: in the order they were listed in.
    """

    id: str
    uploads: tuple[Upload, ...]


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

    def batch(self, value: Any) -> UploadBatch | None:
        """The uploads that a received value lists; None when it lists none.

        Raises:
            ValueError: it isn't such a list; the text is for who sent it.
        """
        if empty(value):
            return None
        try:
            found = json.loads(value) if isinstance(value, str) else value
            items = [(key, item["filename"], item["totalChunks"]) for key, item in found["items"].items()]
            batch_id = found["batchId"] if items else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError(NOT_UPLOADED) from None
        return UploadBatch(_id(batch_id), tuple(_upload(*item) for item in items)) if items else None

    def filenames(self, value: Any) -> set[str] | None:
        """The names of the uploaded files that a received value lists; None when it lists none or isn't such a list."""
        if isinstance(value, (set, frozenset)):
            return set(value) or None
        try:
            batch = self.batch(value)
        except ValueError:
            return None
        return {upload.filename for upload in batch.uploads} if batch else None

    def check(self, value: Any) -> list[str]:
        """As :meth:`Element.check`."""
        if isinstance(value, (set, frozenset)):
            return self._problems(sorted(value))
        try:
            batch = self.batch(value)
        except ValueError as exc:
            return [str(exc)]
        return self._problems([upload.filename for upload in batch.uploads] if batch else [])

    def fill(self, value: Any) -> None:
        """Does nothing: browsers don't let a page fill a file field."""

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`; ``data-files`` is where the panel's script finds the name."""
        own = {
            "multiple": bool(self.multiple or self.directory),
            "webkitdirectory": bool(self.directory),
            "data-files": shown(self.name),
        }
        return tag("input", {**attributes, "type": self.type, **own})

    def _problems(self, names: list[str]) -> list[str]:
        if not names:
            return [REQUIRED] if self.required else []
        if not self.directory and any("/" in name for name in names):
            return [NO_FOLDER]
        if len(names) > 1 and not (self.multiple or self.directory):
            return [ONE_FILE]
        twice = [name for name, count in Counter(names).items() if count > 1]
        return [f"{name} is there twice: please choose it once." for name in twice]


def _upload(upload_id: Any, filename: Any, total_chunks: Any) -> Upload:
    if not isinstance(filename, str) or isinstance(total_chunks, bool) or not isinstance(total_chunks, int):
        raise ValueError(NOT_UPLOADED)
    if not 0 <= total_chunks <= _MAX_CHUNKS:
        raise ValueError(NOT_UPLOADED)
    try:
        return Upload(_id(upload_id), checked(filename), total_chunks)
    except BadPath as exc:
        raise ValueError(str(exc)) from exc


def _id(value: Any) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise ValueError(NOT_UPLOADED)
    return value
