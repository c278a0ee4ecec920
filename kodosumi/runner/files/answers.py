"""What a panel may answer that is no success, and how its reason is read."""

from __future__ import annotations

import json

from ...error import FilesUnavailable

_SHOWN = 500


class TooLarge(FilesUnavailable):
    """The panel takes no chunk of this size, or the user's quota is used up; the text is the panel's."""


class Unreachable(FilesUnavailable):
    """The panel can't be asked now."""


class Broken(Exception):
    """The connection broke, or couldn't be made; the cause is httpx's."""


def detail_of(body: bytes) -> str:
    """The reason in an answer, also of a proxy on the way; "" without one."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body[:_SHOWN].decode("utf-8", "replace").strip()
