"""What the work of now is about: the run and the request, known to every log line that is written meanwhile.

Kept in context variables, so that tasks and the threads of ``asyncio.to_thread`` know it from whoever started them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context

REQUEST_ID_HEADER = "x-request-id"
"""Carries a request's id: into the panel, out of it, and on to apps."""

_USABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")

_fid: ContextVar[str] = ContextVar("kodosumi_fid", default="")
_request_id: ContextVar[str] = ContextVar("kodosumi_request_id", default="")


@contextmanager
def about(*, fid: str = "", request_id: str = "") -> Generator[None]:
    """Has log lines name a run, or a request, for as long as the block lasts.

    Args:
        fid: of the run; "" leaves what was known before. request_id: likewise.
    """
    fid_before, request_before = _fid.get(), _request_id.get()
    if fid:
        _fid.set(fid)
    if request_id:
        _request_id.set(request_id)
    try:
        yield
    finally:
        # Set, not reset by token: a generator may be closed in another context than it was begun in.
        _fid.set(fid_before)
        _request_id.set(request_before)


def set_fid(fid: str) -> None:
    """Has log lines name a run from now on, until the :func:`about` around it or the task ends."""
    _fid.set(fid)


def outliving(fid: str = "") -> Context:
    """The context for a task that a request starts and that outlives it.

    Args:
        fid: of the run that the task is about, "" when it's about none.
    """
    context = copy_context()
    context.run(_request_id.set, "")
    context.run(_fid.set, fid)
    return context


def current_fid() -> str:
    """The run that the work of now is about, "" when there is none."""
    return _fid.get()


def current_request_id() -> str:
    """The request that the work of now is about, "" when there is none."""
    return _request_id.get()


def usable_request_id(given: str | None) -> str:
    """A caller's request id, when it is 1 to 64 of ``[A-Za-z0-9._-]``; a new one otherwise."""
    return given if given is not None and _USABLE.fullmatch(given) else uuid.uuid4().hex
