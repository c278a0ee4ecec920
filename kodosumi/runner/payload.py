"""Serialisation: any value an author hands over becomes the published, wrapped JSON text. It never fails.

Format: ``docs/reference/payloads.md``. Nothing here imports numpy, pandas or crewai; what they make is recognised by
its shape. Not for the wire form of events (``events.py``).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import fractions
import json
import math
import pathlib
import types
import uuid
import warnings
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from ..events import storable

MAX_DEPTH = 60
"""Levels of nesting that are kept; what lies deeper becomes text."""

MAX_VALUES = 5_000_000
"""Values in one payload: shared parts are written out wherever they're used, and that can explode."""

MAX_DIGITS = 4000
"""Python refuses to print longer integers by default; they become hexadecimal text."""

TEXT_TYPES = (
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    pathlib.PurePath,
    complex,
)
"""Types whose text says all there is."""

OPAQUE_TYPES = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    types.CodeType,
)
"""Types whose attributes tell a reader nothing."""


class _Unreadable(Exception):
    """The value isn't of a kind that has readable content."""


def wrap(value: Any) -> str:
    """The published JSON text of a value: an object with one key, the name of the value's class.

    Lists and tuples become ``{"__list__": [...]}`` with each element wrapped; ``None`` becomes ``{"NoneType": null}``.

    Args:
        value: anything.

    Returns:
        Valid JSON in UTF-8, whatever the value does when it is read.
    """
    try:
        return storable(json.dumps(_Writer().wrapped(value, 0), ensure_ascii=False, allow_nan=False))
    except Exception as exc:
        # Recursion near the limit, memory: the run is finished all the same, and its reader learns why it's short.
        return json.dumps({"TypeError": f"{_class_name(value)} cannot be shown: {type(exc).__name__}"})


def plain(value: Any) -> str:
    """The JSON text of a value as it stands inside another: without the name of its class, and ``None`` is null.

    Args:
        value: anything.

    Returns:
        Valid JSON, whatever the value does when it is read.
    """
    try:
        return storable(json.dumps(_Writer().plain(value, 0), ensure_ascii=False, allow_nan=False))
    except Exception as exc:
        return json.dumps(f"{_class_name(value)} cannot be shown: {type(exc).__name__}")


class _Writer:
    """Turns one value into what ``json`` can write, and remembers where it is so that circles end."""

    def __init__(self) -> None:
        self._path: set[int] = set()
        self._values = 0

    def wrapped(self, value: Any, depth: int) -> Any:
        """A value at the top or directly in a list."""
        if value is None:
            return {"NoneType": None}
        if isinstance(value, list | tuple) and not _is_namedtuple(value):
            if self._ends(value, depth):
                return {"TypeError": self._end_mark(value)}
            with _Step(self._path, value):
                return {"__list__": [self.wrapped(item, depth + 1) for item in value]}
        try:
            return {_class_name(value): self._content(value, depth)}
        except _Unreadable:
            return {"TypeError": _text(value)}

    def plain(self, value: Any, depth: int) -> Any:
        """A value somewhere inside another: plain JSON, without a class name."""
        try:
            return self._content(value, depth)
        except (RecursionError, MemoryError):
            raise
        except Exception:  # unreadable, or a class that lies about itself
            return _text(value)

    def _content(self, value: Any, depth: int) -> Any:
        self._values += 1
        if isinstance(value, Enum):
            return self.plain(value.value, depth + 1)
        if value is None or isinstance(value, str | int | float):
            return _scalar(value)
        if self._ends(value, depth):
            return self._end_mark(value)
        with _Step(self._path, value):
            try:
                return self._inside(value, depth + 1)
            except (_Unreadable, RecursionError, MemoryError):
                raise
            except Exception:
                return _text(value)  # a hook of the author's own failed: model_dump, isoformat, a property

    def _inside(self, value: Any, depth: int) -> Any:
        if isinstance(value, BaseException):
            return _text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).decode("utf-8", "replace")
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, TEXT_TYPES):
            return _text(value)
        if isinstance(value, BaseModel):
            return self._mapping(_model_fields(value), depth)
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if _is_namedtuple(value):
            return self._mapping(value._asdict(), depth)
        if isinstance(value, set | frozenset):
            return self._list(_in_order(value), depth)
        if isinstance(value, list | tuple):
            return self._list(value, depth)
        foreign = _foreign(value)
        if foreign is not None:
            return self.plain(foreign, depth)
        return self._mapping(_attributes(value), depth)

    def _mapping(self, content: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {_key(key): self.plain(item, depth) for key, item in content.items()}

    def _list(self, content: Iterable[Any], depth: int) -> list[Any]:
        return [self.plain(item, depth) for item in content]

    def _ends(self, value: Any, depth: int) -> bool:
        return depth > MAX_DEPTH or self._values > MAX_VALUES or id(value) in self._path

    def _end_mark(self, value: Any) -> str:
        if id(value) in self._path:
            return f"<circular reference to {_class_name(value)}>"
        limit = f"{MAX_VALUES:,} values" if self._values > MAX_VALUES else f"{MAX_DEPTH} levels"
        return f"<{_class_name(value)}: not shown after {limit}>"


class _Step:
    """Marks a value as being on the way from the top, for as long as it's read."""

    def __init__(self, path: set[int], value: Any) -> None:
        self._path = path
        self._id = id(value)

    def __enter__(self) -> None:
        self._path.add(self._id)

    def __exit__(self, *_: object) -> None:
        self._path.discard(self._id)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if number.bit_length() < MAX_DIGITS * 3 else hex(number)
    return float.__float__(value) if math.isfinite(value) else None


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, bool) or key is None:
        return json.dumps(key)
    return _text(key)


def _class_name(value: Any) -> str:
    return type(value).__name__


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(type(value), "_fields") and hasattr(type(value), "_asdict")


def _text(value: Any) -> str:
    """``str(value)``, or what can be said when even that fails."""
    try:
        return str.__str__(str(value))
    except Exception as exc:
        return f"<{_class_name(value)}: str() raised {type(exc).__name__}>"


def _in_order(values: Iterable[Any]) -> list[Any]:
    """A set's elements, sorted where they can be, so that equal sets look equal."""
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _model_fields(model: BaseModel) -> Mapping[str, Any]:
    try:
        return model.model_dump(warnings=False)
    except Exception:  # circular, or made by model_construct: its attributes are still there
        return dict(model.__dict__)


def _foreign(value: Any) -> Any:
    """Plain Python of what numpy, pandas and polars make, recognised by its module; None when it's something else."""
    family = type(value).__module__.partition(".")[0]
    if family == "numpy" and hasattr(value, "tolist"):
        return value.astype(str).tolist() if value.dtype.kind in "mM" else value.tolist()
    if family == "pandas":
        return _from_pandas(value)
    if family == "polars":
        return value.to_dicts() if hasattr(value, "to_dicts") else value.to_list()
    return None


def _from_pandas(value: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(value, "columns"):
            unique = value.columns.is_unique
            return value.to_dict(orient="records" if unique else "split")
        if hasattr(value, "to_dict"):
            return value.to_dict() if value.index.is_unique else value.tolist()
        return value.tolist() if hasattr(value, "tolist") else _text(value)


def _attributes(value: Any) -> Mapping[str, Any]:
    """A dataclass's or any object's attributes.

    Raises:
        _Unreadable: it has none that mean anything.
    """
    if isinstance(value, OPAQUE_TYPES):
        raise _Unreadable
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    found = dict(getattr(value, "__dict__", None) or {})
    for name in _slots(type(value)):
        if hasattr(value, name):
            found.setdefault(name, getattr(value, name))
    if not found and not hasattr(value, "__dict__"):
        raise _Unreadable
    return found


def _slots(cls: type) -> Iterable[str]:
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__"):
                yield name
