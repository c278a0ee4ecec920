"""What an app's OpenAPI document says about its flows. The document is data: whatever it holds, reading it is safe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...const import KODOSUMI_FLOW
from .address import Address, flow_place

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
"""Operations by preference: of several flows at one path the first counts, as a flow's id is made from its place."""

MAX_FLOWS = 1000
MAX_TAGS = 50
_MAX_LINE = 500
_MAX_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One flow, as clients see it.

    Attributes:
        uid: md5 of ``url``, the flow's id.
        method: HTTP method, upper case.
        url: place under the panel.
        source: address of the OpenAPI document it comes from.
        summary: its name. description: Markdown of the author.
        deprecated: as the author says. author, organization, tags: likewise.
        base_url: the app's base address.
        stale: its app could not be read lately; what is shown is what it last said.
    """

    uid: str
    method: str
    url: str
    source: str
    summary: str
    description: str
    deprecated: bool
    author: str
    organization: str
    tags: list[str]
    base_url: str
    stale: bool = False

    @property
    def words(self) -> str:
        """What a search looks through, case folded."""
        return "\n".join(
            (self.summary, self.description, self.author, self.organization, "\n".join(self.tags))
        ).casefold()


def endpoints_of(document: object, address: Address, source: str) -> list[Endpoint]:
    """The flows of an OpenAPI document: operations with ``x-kodosumi: true``; anything odd in it is left out.

    Args:
        document: as parsed from JSON.
        address: of the app.
        source: where the document was found.
    """
    found: dict[str, Endpoint] = {}
    for method, path, operation in _operations(document):
        if operation.get(KODOSUMI_FLOW) is True and len(found) < MAX_FLOWS:
            endpoint = _endpoint(method, path, operation, address, source)
            found.setdefault(endpoint.uid, endpoint)
    return list(found.values())


def as_data(endpoint: Endpoint) -> dict[str, Any]:
    """The published object of a flow."""
    return asdict(endpoint)


def from_data(data: dict[str, Any], stale: bool) -> Endpoint:
    """A flow as :func:`as_data` wrote it; fields of other versions are left out."""
    known = {field.name for field in fields(Endpoint)}
    return Endpoint(**{name: value for name, value in data.items() if name in known} | {"stale": stale})


def _operations(document: object) -> Iterator[tuple[str, str, dict[str, Any]]]:
    paths = document.get("paths") if isinstance(document, dict) else None
    for path, item in paths.items() if isinstance(paths, dict) else ():
        if not path.startswith("/") or len(path) > _MAX_LINE or not path.isprintable() or not isinstance(item, dict):
            continue
        for method in METHODS:
            if isinstance(operation := item.get(method), dict):
                yield method.upper(), path, operation


def _endpoint(method: str, path: str, operation: dict[str, Any], address: Address, source: str) -> Endpoint:
    url = flow_place(address, path)
    return Endpoint(
        uid=hashlib.md5(url.encode(), usedforsecurity=False).hexdigest(),
        method=method,
        url=url,
        source=source,
        summary=_text(operation.get("summary"), _MAX_LINE) or path,
        description=_text(operation.get("description"), _MAX_TEXT),
        deprecated=operation.get("deprecated") is True,
        author=_text(operation.get("x-author"), _MAX_LINE),
        organization=_text(operation.get("x-organization"), _MAX_LINE),
        tags=_tags(operation.get("tags")),
        base_url=address.base,
    )


def _tags(value: object) -> list[str]:
    texts = [_text(tag, _MAX_LINE) for tag in value] if isinstance(value, list) else []
    return list(dict.fromkeys(text for text in texts if text))[:MAX_TAGS]


def _text(value: object, limit: int) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    # Lone surrogates come out of JSON escapes and go into no database and no page.
    return str(value).encode("utf-8", "replace").decode()[:limit].strip()
