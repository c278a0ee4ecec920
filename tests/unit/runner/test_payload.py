"""The wrapped form of values: ``docs/reference/payloads.md``, row by row, and never a failure."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kodosumi.runner.payload import wrap


class Point(NamedTuple):
    x: int
    y: int


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Model(BaseModel):
    name: str
    inner: Any = None


@dataclasses.dataclass
class Data:
    when: datetime.date
    items: list[int]


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int


class Plain:
    def __init__(self) -> None:
        self.a = 1


class Slots:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a = 1


class SubDict(dict[str, int]): ...


class Handle:
    __slots__ = ()

    def __str__(self) -> str:
        return "a handle"


class Hostile:
    def __str__(self) -> str:
        raise ValueError("no")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise ValueError("no")


class BadModel(BaseModel):
    def model_dump(self, **_: Any) -> Any:  # type: ignore[override]
        raise ValueError("no")


ROWS = [
    (None, {"NoneType": None}),
    ("a", {"str": "a"}),
    (1, {"int": 1}),
    (True, {"bool": True}),
    (1.5, {"float": 1.5}),
    (math.nan, {"float": None}),
    ({"a": {1, 2}, 3: datetime.date(2026, 1, 31), None: 1, True: b"x"}, None),
    (SubDict(a=1), {"SubDict": {"a": 1}}),
    (collections.OrderedDict(a=1), {"OrderedDict": {"a": 1}}),
    ([1, "a", [None]], {"__list__": [{"int": 1}, {"str": "a"}, {"__list__": [{"NoneType": None}]}]}),
    ((1,), {"__list__": [{"int": 1}]}),
    ({"a": [1, (2,)]}, {"dict": {"a": [1, [2]]}}),
    (Point(1, 2), {"Point": {"x": 1, "y": 2}}),
    (Color.RED, {"Color": "red"}),
    (Level.LOW, {"Level": 1}),
    ({"c": Color.RED}, {"dict": {"c": "red"}}),
    (Model(name="n", inner=Model(name="m")), {"Model": {"name": "n", "inner": {"name": "m", "inner": None}}}),
    (Data(datetime.date(2026, 1, 31), [1]), {"Data": {"when": "2026-01-31", "items": [1]}}),
    (Slotted(1), {"Slotted": {"a": 1}}),
    (Plain(), {"Plain": {"a": 1}}),
    (Slots(), {"Slots": {"a": 1}}),
    (ValueError("wrong"), {"ValueError": "wrong"}),
    ({3, 1, 2}, {"set": [1, 2, 3]}),
    (frozenset({1}), {"frozenset": [1]}),
    (b"caf\xc3\xa9\xff", {"bytes": "café\ufffd"}),
    (datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC), {"datetime": "2026-01-31T12:00:00+00:00"}),
    (datetime.timedelta(seconds=90), {"timedelta": "0:01:30"}),
    (decimal.Decimal("1.10"), {"Decimal": "1.10"}),
    (uuid.UUID(int=0), {"UUID": "00000000-0000-0000-0000-000000000000"}),
    (Path("/a"), {"PosixPath": "/a"}),
    (np.int64(3), {"int64": 3}),
    (np.float64(0.5), {"float64": 0.5}),
    (np.float32(math.inf), {"float32": None}),
    (np.bool_(True), {"bool": True}),
    (np.array([[1, 2], [3, 4]]), {"ndarray": [[1, 2], [3, 4]]}),
    (np.datetime64("2026-01-31"), {"datetime64": "2026-01-31"}),
    ({"a": np.int64(3)}, {"dict": {"a": 3}}),
    (pd.DataFrame({"a": [1, 2]}), {"DataFrame": [{"a": 1}, {"a": 2}]}),
    (
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        {"DataFrame": {"index": [0], "columns": ["a", "a"], "data": [[1, 2]]}},
    ),
    (pd.Series([1, 2], index=["a", "b"]), {"Series": {"a": 1, "b": 2}}),
    (pd.Index([1, 2]), {"Index": [1, 2]}),
    (pd.Timestamp("2026-01-31"), {"Timestamp": "2026-01-31T00:00:00"}),
    (len, {"TypeError": "<built-in function len>"}),
    (Handle(), {"TypeError": "a handle"}),
    (10**5000, {"int": hex(10**5000)}),
    ("\ud800\0", {"str": "\ufffd\0"}),
]


@pytest.mark.parametrize(("value", "expected"), ROWS, ids=lambda value: type(value).__name__)
def test_a_value_is_wrapped_as_the_table_says(value: Any, expected: Any) -> None:
    if expected is None:
        expected = {"dict": {"a": [1, 2], "3": "2026-01-31", "null": 1, "true": "x"}}
    assert json.loads(wrap(value)) == expected


def test_a_circle_ends() -> None:
    circle: dict[str, Any] = {"a": 1}
    circle["self"] = circle
    items: list[Any] = []
    items.append(items)
    assert json.loads(wrap(circle)) == {"dict": {"a": 1, "self": "<circular reference to dict>"}}
    assert json.loads(wrap(items)) == {"__list__": [{"TypeError": "<circular reference to list>"}]}


def test_what_is_shared_without_a_circle_is_written_twice() -> None:
    shared = [1]
    assert json.loads(wrap({"a": shared, "b": shared})) == {"dict": {"a": [1], "b": [1]}}


def test_deep_nesting_ends_in_a_text() -> None:
    deep: Any = "bottom"
    for _ in range(10_000):
        deep = [deep]
    assert "not shown after 60 levels" in wrap(deep)
    assert "not shown after 60 levels" in wrap({"a": deep})


def test_parts_shared_explosively_end_in_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodosumi.runner.payload.MAX_VALUES", 10_000)
    bomb: Any = "x"
    for _ in range(40):
        bomb = {"a": bomb, "b": bomb}
    assert "not shown after 10,000 values" in wrap(bomb)


@pytest.mark.parametrize("value", [Hostile(), [Hostile()], {"a": Hostile()}, BadModel(), {"m": BadModel()}])
def test_a_value_whose_own_code_fails_is_wrapped_all_the_same(value: Any) -> None:
    assert isinstance(json.loads(wrap(value)), dict)


def test_surrogates_leave_no_trace_in_the_bytes() -> None:
    assert json.loads(wrap({"\ud800": "\udfff"}).encode()) == {"dict": {"\ufffd": "\ufffd"}}


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=20)
    | st.decimals()
    | st.datetimes()
    | st.timedeltas()
    | st.complex_numbers()
    | st.uuids()
    | st.builds(Point, st.integers(), st.integers())
    | st.sampled_from([Color.RED, Level.LOW, Hostile(), Plain(), Handle(), ValueError("x"), np.int8(1), pd.NaT, pd.NA])
)
keys = st.text(max_size=5) | st.integers() | st.booleans() | st.none() | st.tuples(st.integers())
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(lambda content: Model(name="m", inner=content), inner)
    ),
    max_leaves=20,
)


@given(values)
def test_any_value_becomes_an_object_with_one_key(value: Any) -> None:
    wrapped = wrap(value)
    assert len(json.loads(wrapped.encode("utf-8"))) == 1
