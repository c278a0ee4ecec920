"""Whose files a request may reach: the one place where ids and names of a URL become the key of a folder or a file."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path, Request

from ...error import BadPath, ExecutionNotFound
from ...events import is_fid, storable
from ...files import ROOTS, checked
from ...store import Execution
from ..auth import FilesUser
from ..context import Panel
from ..errors import ApiError
from ..executions import GRACE_S, is_recent, not_found

Root = Annotated[str, Path(json_schema_extra={"enum": list(ROOTS)})]
"""Parameter type of routes that name one of the two folders; :func:`check_root` says what is wrong with another."""


def check_root(root: str) -> None:
    """Makes sure that it is one of the two.

    Raises:
        ApiError: 400.
    """
    if root not in ROOTS:
        raise ApiError(400, f"There is no folder {root[:40]!r}: choose one of {', '.join(ROOTS)}.")


async def folder_of(panel: Panel, user: FilesUser, fid: str, root: str) -> str:
    """The key of a folder that the user may read and write.

    Args:
        panel: this one. user: who asks. fid: the execution. root: ``in`` or ``out``.

    Raises:
        ApiError: 400, another root; 404, the execution is unknown or not for this user.
    """
    check_root(root)
    if not is_fid(fid):
        raise not_found(storable(fid[:40]))
    execution = await _execution(panel, user, fid)
    if not user.may(fid, execution):
        raise not_found(fid)
    if execution is not None:
        return f"{execution.username}/{fid}/{root}"
    assert user.grant is not None
    return f"{user.grant.username}/{fid}/{root}"


async def _execution(panel: Panel, user: FilesUser, fid: str) -> Execution | None:
    """The execution, or None while it isn't stored; who is logged in waits a moment for one that was just accepted."""
    with suppress(ExecutionNotFound):
        if user.grant is None and is_recent(fid):
            return await panel.hub.execution(fid, GRACE_S)
        return await panel.store.execution(fid)
    return None


def safe_name(path: str, what: str = "file name") -> str:
    """A file's name below a root, as a part of a key.

    Raises:
        ApiError: 400, it can't be one; says why.
    """
    try:
        return checked(path, what)
    except BadPath as exc:
        raise ApiError(400, str(exc)) from None


async def readable_path(request: Request) -> None:
    """Refuses what isn't text: the server would turn it into other characters, and so into another file's name.

    Raises:
        ApiError: 400.
    """
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    try:
        unquote_to_bytes(raw.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise ApiError(400, "The address of a file must be UTF-8, percent-encoded.") from None
