"""Entry points: from a name or a pickled object to a call with the arguments the author asked for.

Resolution happens in the runner's process, and what goes wrong says what was looked for. Not for running the call
(``usercode.py``) nor for crews' events (``crew.py``).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import traceback
from collections import ChainMap
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, ClassVar

import cloudpickle

from ..error import BadEntryPoint

_OWN_FOLDER = Path(__file__).parent
_STDLIB = Path(traceback.__file__).parent
_PLUMBING = frozenset({"asyncio", "threading.py", "concurrent", "importlib"})
"""What lies between the runner and the author's first frame."""


def resolve(entry_point: str | bytes) -> Any:
    """The object that an entry point names.

    Args:
        entry_point: ``"pkg.mod:name"`` (the name may have dots), ``"pkg.mod.name"``, or a cloudpickled object.

    Raises:
        BadEntryPoint: a bare name, an unknown module or attribute, an object that can't be loaded here.
        BaseException: whatever the module raises on import, with a note that names the entry point.
    """
    importlib.invalidate_caches()  # a warm process must see files made since it started
    if isinstance(entry_point, bytes):
        return _unpickled(entry_point)
    module_name, attribute = _parts(entry_point)
    found = _module(module_name, entry_point)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise BadEntryPoint(f"entry point {entry_point!r}: {_described(found)} has no {name!r}") from None
    return found


def pickle_for_run(value: object) -> bytes:
    """Pickles an entry point or inputs for a run. Tracebacks of functions in it name the author's file and lines.

    Args:
        value: What ``cloudpickle`` can pickle.

    Returns:
        Bytes for ``cloudpickle.loads``.

    Raises:
        Exception: The value, or one that it refers to, cannot be pickled.
    """
    buffer = BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def crew_of(target: Any) -> Any | None:
    """The crew behind an object: made from a crew class, or the object itself; None when it is no crew."""
    if getattr(target, "is_crew_class", False):
        return (target() if isinstance(target, type) else target).crew()
    return target if hasattr(target, "kickoff") and not isinstance(target, type) else None


def bound(target: Any, inputs: Any, tracer: Any) -> Callable[[], Any]:
    """A call of ``target`` with those of ``inputs`` and ``tracer`` that its parameters name.

    Raises:
        BadEntryPoint: it can't be called.
    """
    if not callable(target):
        raise BadEntryPoint(f"the entry point is {_described(target)}, which cannot be called")
    positional, keywords = [], {}
    given = {"inputs": inputs, "tracer": tracer}
    for parameter in _parameters(target):
        if parameter.name not in given:
            continue
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            positional.append(given[parameter.name])
        elif parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            keywords[parameter.name] = given[parameter.name]
    return functools.partial(target, *positional, **keywords)


def traceback_text(exc: BaseException) -> str:
    """The traceback from the author's first frame on, as the ``error`` event shows it."""
    frames = exc.__traceback__
    while frames is not None and _is_plumbing(frames):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(exc), exc, frames)).rstrip()


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    # The file name is the first text among the arguments of CodeType, in every Python version.
    position = next(index for index, value in enumerate(arguments) if isinstance(value, str))
    return make, (*arguments[:position], code.co_filename, *arguments[position + 1 :])


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Keeps the file name of code, which cloudpickle replaces by ``<dynamic-code>`` since 3.1.3."""

    dispatch_table: ClassVar = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)


def _parts(entry_point: str) -> tuple[str, str]:
    mark = ":" if ":" in entry_point else "."
    module_name, _, attribute = entry_point.partition(mark) if mark == ":" else entry_point.rpartition(mark)
    if not module_name or not attribute:
        raise BadEntryPoint(f"entry point {entry_point!r}: name a module too, as in 'my_service.calc:execute'")
    return module_name, attribute


def _module(name: str, entry_point: str) -> Any:
    try:
        return importlib.import_module(name)
    except BaseException as exc:
        missing = isinstance(exc, ModuleNotFoundError) and exc.name is not None
        if missing and (name == exc.name or name.startswith(f"{exc.name}.")):  # type: ignore[attr-defined]
            raise BadEntryPoint(
                f"entry point {entry_point!r}: there is no module {exc.name!r} here. "  # type: ignore[attr-defined]
                "Start the app in its project's folder, or install the package on the cluster."
            ) from None
        exc.add_note(f"This happened while importing {name!r} for the entry point {entry_point!r}.")
        raise


def _unpickled(pickled: bytes) -> Any:
    try:
        return cloudpickle.loads(pickled)
    except BaseException as exc:
        exc.add_note("This happened while loading the entry point, which was sent as an object. Try 'module:name'.")
        raise


def _parameters(target: Any) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):
        return []  # a builtin that doesn't say
    fixed = target.keywords if isinstance(target, functools.partial) else {}
    return [parameter for parameter in parameters if parameter.name not in fixed]


def _described(found: Any) -> str:
    name = getattr(found, "__qualname__", None) or getattr(found, "__name__", None)
    kind = type(found).__name__
    return f"{kind} {name!r}" if name else f"a value of type {kind}"


def _is_plumbing(frames: TracebackType) -> bool:
    filename = frames.tb_frame.f_code.co_filename
    path = Path(filename)
    if filename.startswith(("<frozen importlib", "uvloop/")) or _OWN_FOLDER in path.parents:
        return True
    return _STDLIB in path.parents and path.relative_to(_STDLIB).parts[0] in _PLUMBING
