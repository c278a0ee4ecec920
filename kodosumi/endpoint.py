"""What an endpoint says about itself, and how a launch finds it: by function, request or call stack.

Below ``launch`` and above what a run is made of: ``serve`` remembers here, ``launch`` looks up here. An app that was
pickled into a Serve replica remembers its endpoints again when it is unpickled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from types import CodeType, FrameType
from typing import Any

from .runner.spec import Retry


@dataclass(frozen=True, slots=True)
class EndpointMeta:
    """What is known of an endpoint; what its author left out is None. All but ``retry`` is published.

    Attributes:
        summary: its title. description: one paragraph about it. tags: words to find it by.
        deprecated: whether users should turn elsewhere.
        author: who to write to. organization: whose it is. version: of the service.
        retry: when the code of its runs is called again, in portable form.
    """

    summary: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    deprecated: bool | None = None
    author: str | None = None
    organization: str | None = None
    version: str | None = None
    retry: Retry | None = None

    @property
    def published(self) -> dict[str, Any]:
        """What runs and lists tell of it, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "retry"}


# Endpoints live as long as their process, so nothing is ever forgotten here.
_by_function: dict[Any, EndpointMeta] = {}
_by_code: dict[tuple[CodeType, str], list[tuple[Any, EndpointMeta]]] = {}
_served: ContextVar[EndpointMeta | None] = ContextVar("kodosumi_served_endpoint", default=None)


def remember(function: Callable[..., Any], meta: EndpointMeta) -> None:
    """Keeps an endpoint's metadata for launches that name the function or are called from within it.

    Args:
        function: what the author registered. meta: replaces what was remembered for it before.
    """
    try:
        _by_function[function] = meta
    except TypeError:
        return  # an unhashable callable is found while it is being served
    code = _code_of(function)
    if code is not None:
        known = _by_code.setdefault((code, code.co_filename), [])
        known[:] = [entry for entry in known if entry[0] != function] + [(function, meta)]


def meta_of(function: Callable[..., Any]) -> EndpointMeta | None:
    """The metadata of a registered function, also through decorators and copies of it; None for any other."""
    try:
        meta = _by_function.get(function) or _by_function.get(inspect.unwrap(function))
    except TypeError:
        return None
    if meta is None and (code := _code_of(function)) is not None:
        known = _by_code.get((code, code.co_filename), [])
        meta = known[0][1] if len(known) == 1 else None
    return meta


def meta_from_stack(frame: FrameType | None) -> EndpointMeta | None:
    """The metadata of the endpoint that is being served, else of the nearest registered function up the stack.

    The request counts first: endpoints made by one factory share their code, and a helper may be far from its endpoint.

    Args:
        frame: where to begin.
    """
    served = _served.get()
    while served is None and frame is not None:
        served = _meta_of_frame(frame)
        frame = frame.f_back
    return served


@contextmanager
def serving(meta: EndpointMeta) -> Iterator[None]:
    """While the block runs, launches made in it, and in threads and tasks begun by it, belong to this endpoint."""
    token = _served.set(meta)
    try:
        yield
    finally:
        _served.reset(token)


def _meta_of_frame(frame: FrameType) -> EndpointMeta | None:
    known = _by_code.get((frame.f_code, frame.f_code.co_filename), [])
    if len(known) > 1:
        known = [entry for entry in known if _runs_in(entry[0], frame)] or known
    return known[-1][1] if known else None


def _runs_in(function: Any, frame: FrameType) -> bool:
    """Whether a frame of shared code belongs to this closure: its free variables hold the very same objects."""
    function = getattr(inspect.unwrap(function), "__func__", inspect.unwrap(function))
    cells = zip(frame.f_code.co_freevars, function.__closure__ or (), strict=False)
    try:
        return all(cell.cell_contents is frame.f_locals.get(name) for name, cell in cells)
    except ValueError:
        return False  # a cell that is still empty


def _code_of(function: Any) -> CodeType | None:
    function = inspect.unwrap(function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code if isinstance(code, CodeType) else None
