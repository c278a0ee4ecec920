"""An author's route keywords: as FastAPI takes them, as OpenAPI publishes them, and as launches carry them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..const import KODOSUMI_FLOW
from ..endpoint import EndpointMeta

FLOW = KODOSUMI_FLOW
"""OpenAPI extension that makes an operation appear in the panel's list of flows."""

_OURS = ("author", "organization", "version")


def folded(keywords: Mapping[str, Any], entry: bool | None) -> dict[str, Any]:
    """A route's keywords as FastAPI takes them: ours are OpenAPI extensions. Copies, so nothing shared is changed.

    Args:
        keywords: as the author gave them. entry: whether it is a flow; None to say nothing about it.
    """
    extra = dict(keywords.get("openapi_extra") or {})
    if entry is not None:
        extra[FLOW] = bool(entry)
    extra |= {f"x-{key}": keywords[key] for key in _OURS if keywords.get(key) is not None}
    return {**{key: value for key, value in keywords.items() if key not in {"entry", *_OURS}}, "openapi_extra": extra}


def described(keywords: Mapping[str, Any]) -> EndpointMeta:
    """The metadata in a route's keywords, folded or not."""

    def text(key: str) -> str | None:
        value = keywords.get(key)
        value = keywords.get(f"x-{key}") if value is None else value
        return None if value is None else str(value)

    return EndpointMeta(
        summary=text("summary"),
        description=text("description"),
        tags=tuple(str(getattr(tag, "value", tag)) for tag in keywords.get("tags") or ()),
        deprecated=keywords.get("deprecated"),
        author=text("author"),
        organization=text("organization"),
        version=text("version"),
    )


def plain(value: Any) -> Any:
    """A value as JSON has it; a class or function is shown by name."""
    return json.loads(json.dumps(value, default=lambda other: getattr(other, "__name__", None) or str(other)))
