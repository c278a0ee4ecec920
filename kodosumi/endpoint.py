"""Metadata of endpoints, and how a launch finds it: by function, request or call stack.

``ServeAPI`` registers the metadata of its endpoints here and ``Launch`` looks it up. Both may run in another process
than the one that defined the endpoint, with functions that were pickled by value on the way. Nothing here relies on a
copy, or its code object, being equal to the original: pickling may change both (docs/notes/cloudpickle.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from types import CellType, CodeType, FrameType
from typing import Any

from .runner.spec import Retry


@dataclass(frozen=True, slots=True)
class EndpointMeta:
    """Metadata of an endpoint. A field that its author left out is None. All fields but ``retry`` are published.

    Attributes:
        summary: Title.
        description: One paragraph.
        tags: Words to find the endpoint by.
        deprecated: Whether users should choose another endpoint.
        author: Contact address.
        organization: Owner of the service.
        version: Version of the service.
        retry: When the code of a run is called again after an error, in portable form.
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
        """The fields that runs and lists of flows show, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "retry"}


_ATTRIBUTE = "__kodosumi_endpoint__"
"""Attribute of a registered function that holds its metadata. It is pickled with the function."""

_Location = tuple[str, str, int]
"""Module, qualified name and first line of a function's definition. Pickling by value keeps all three."""

# Endpoints live as long as their process, so entries are never removed.
_by_location: dict[_Location | None, list[tuple[Any, EndpointMeta]]] = {}
_served: ContextVar[EndpointMeta | None] = ContextVar("kodosumi_served_endpoint", default=None)


def remember(function: Callable[..., Any], meta: EndpointMeta) -> None:
    """Registers an endpoint's metadata for launches that name the function or are called from within it.

    Args:
        function: The callable that the author registered.
        meta: Its metadata. Replaces what was registered for the function before.
    """
    # Other callables may refuse attributes. They are found by identity, bound methods by their location too.
    if inspect.isfunction(function):
        setattr(function, _ATTRIBUTE, meta)
    known = _by_location.setdefault(_locate(function), [])
    known[:] = [entry for entry in known if not _is_same_callable(entry[0], function)] + [(function, meta)]


def meta_of(function: Callable[..., Any]) -> EndpointMeta | None:
    """Returns the metadata of a registered function, of a decorated one, or of a copy that was pickled by value.

    Args:
        function: A callable. One that was never registered has no metadata.
    """
    original = inspect.unwrap(function)
    known = _by_location.get(_locate(original), [])
    for registered, meta in known:
        if _is_same_callable(registered, function) or _is_same_callable(registered, original):
            return meta
    for candidate in (function, original):
        carried = vars(candidate).get(_ATTRIBUTE) if inspect.isfunction(candidate) else None
        if isinstance(carried, EndpointMeta):
            return carried
    # Bound methods have no attributes of their own, so a copy of one could be any method with its location.
    return _common(known) if inspect.ismethod(original) else None


def meta_from_stack(frame: FrameType | None) -> EndpointMeta | None:
    """Returns the metadata of the endpoint that is being served, else of the nearest registered function up the stack.

    The request comes first: endpoints of one factory share their code, and a helper may be far from its endpoint.

    Args:
        frame: The innermost frame to look at.
    """
    served = _served.get()
    while served is None and frame is not None:
        served = _meta_of_frame(frame)
        frame = frame.f_back
    return served


@contextmanager
def serving(meta: EndpointMeta) -> Iterator[None]:
    """Makes launches inside the block, and in threads and tasks started by it, belong to an endpoint.

    Args:
        meta: The endpoint's metadata.
    """
    token = _served.set(meta)
    try:
        yield
    finally:
        _served.reset(token)


def _meta_of_frame(frame: FrameType) -> EndpointMeta | None:
    known = _by_location.get(_code_location(frame.f_globals, frame.f_code), [])
    if len(known) < 2:
        return _common(known)
    # Two lambdas may share a line. Copies have code objects of their own, so there all of them remain possible.
    known = [entry for entry in known if getattr(_unwrap(entry[0]), "__code__", None) is frame.f_code] or known
    possible = [meta for function, meta in known if _can_run_in(function, frame)]
    return possible[-1] if possible else _common(known)


def _common(known: list[tuple[Any, EndpointMeta]]) -> EndpointMeta | None:
    """The metadata that all entries have. None is better than the ``retry`` of another endpoint."""
    metas = [meta for _, meta in known]
    return metas[0] if metas and all(meta == metas[0] for meta in metas) else None


def _can_run_in(function: Any, frame: FrameType) -> bool:
    """Whether a frame may belong to this function and not to another one with the same code.

    The free variables of the function and the frame must hold the same objects, or equal ones of a plain type: those of
    a copy are never the same objects. A method's frame must have its object.
    """
    names, variables = frame.f_code.co_varnames, frame.f_locals
    if inspect.ismethod(function) and names and variables.get(names[0]) is not function.__self__:
        return False
    cells = zip(frame.f_code.co_freevars, _unwrap(function).__closure__ or (), strict=False)
    return all(_holds(cell, variables.get(name)) for name, cell in cells)


def _holds(cell: CellType, value: object) -> bool:
    try:
        content = cell.cell_contents
    except ValueError:
        return True  # The cell is still empty.
    # Only plain types: the comparison of others may raise, or return no bool.
    plain = type(content) is type(value) and isinstance(content, str | bytes | int)
    return content is value or (plain and content == value)


def _is_same_callable(first: object, second: object) -> bool:
    # Each access to a bound method creates another object. The comparison of other callables may raise.
    return first is second or (inspect.ismethod(first) and inspect.ismethod(second) and first == second)


def _locate(function: Any) -> _Location | None:
    function = _unwrap(function)
    code, variables = getattr(function, "__code__", None), getattr(function, "__globals__", None)
    return _code_location(variables, code) if isinstance(code, CodeType) and isinstance(variables, dict) else None


def _code_location(variables: dict[str, Any], code: CodeType) -> _Location:
    return str(variables.get("__name__")), code.co_qualname, code.co_firstlineno


def _unwrap(function: Any) -> Any:
    function = inspect.unwrap(function)
    return getattr(function, "__func__", function)
