"""What a form declares holds on the server, and what reaches the endpoint is what was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi import forms as F
from kodosumi.forms.element import REQUIRED

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def upload(*names: Any, batch: Any = "b", chunks: Any = 1) -> str:
    """What the panel's script sends for a file field."""
    items = {f"u{n}": {"filename": name, "totalChunks": chunks} for n, name in enumerate(names)}
    return json.dumps({"batchId": batch, "items": items, "name": "f"})


UPLOAD = upload("a.txt", "b.txt")


def every_field(**more: Any) -> F.Model:
    return F.Model(
        F.Errors(),
        F.InputText("text", pattern="[a-z]+", **more),
        F.InputNumber("number", min_value=0, max_value=10, step=0.5, **more),
        F.InputPassword("password", min_length=2, max_length=4, **more),
        F.InputDate("date", min_date="2026-01-01", max_date="2026-12-31", **more),
        F.InputTime("time", min_time="08:00", max_time="18:00", step=60, **more),
        F.InputDateTime("moment", min_datetime="2026-01-01T00:00", step=1, **more),
        F.InputArea("area", max_length=5, **more),
        F.Checkbox("box"),
        F.Select("select", [F.InputOption("a"), F.InputOption("1")]),
        F.InputFiles("files", **more),
        F.Action("action", "v"),
        F.InputOption("option"),
        F.Submit("go"),
    )


GOOD = {
    "text": ["abc", "", None],
    "number": [0, 0.5, "0", "10", "1e1", 10.0, "", None, 0.1 * 5],
    "password": ["ab", "abcd", "", 1234],
    "date": ["2026-01-01", "2026-12-31", ""],
    "time": ["08:00", "18:00:00", ""],
    "moment": ["2026-01-01T00:00", "2027-05-05 10:11:12", ""],
    "area": ["12345", "ab\r\nc", "äöü"],
    "box": [True, "on", "nonsense", None, []],
    "select": ["a", "1", 1, "", None],
    "files": [upload("a.txt"), upload("ä b.txt", chunks=0), upload(), '{"items": {}}', "", None, set(), {"a.txt"}],
    "action": ["v", None, 3],
}
BAD = {
    "text": ["ABC", "abc\n", "1", 1, ["abc"], {"a": 1}],
    "number": [-1, 10.5, "0.3", "x", "1e", "0x1", True, float("nan"), float("inf"), "1e999", "9" * 5000, [1], 10**400],
    "password": ["a", "abcde", 12345, ["ab"]],
    "date": ["2025-12-31", "2027-01-01", "2026-02-30", "20260101", "2026-W01-1", 20260101, ["2026-01-01"]],
    "time": ["07:59", "18:01", "8:00", "25:00", "09:00:30", "noon", 900],
    "moment": ["2025-12-31T23:59", "2026-01-01", "2026-01-01T00:00Z", "2026-01-01T00:00:00.5", "T"],
    "area": ["123456", "😀😀😀", ["1"]],
    "select": ["b", "A", "1.0", ["a"], {"a": 1}, True],
    "files": [
        *("a.txt", UPLOAD, "{}", '{"items": []}', '{"items": {"u": {}}}', ["a.txt"], 3, "[" * 100_000),
        *(upload(name) for name in ("../a", "/a", "a/../b", "", "a\0", "a" * 5000, "CON", "\ud800", None, 1, ["a"])),
        *(upload("a", batch=batch) for batch in (None, "", "..", "a/b", "%2e", 1, ["b"], "b" * 200)),
        *(upload("a", chunks=chunks) for chunks in (None, "1", 1.0, True, -1, 10**20)),
        '{"batchId": "b", "items": {"../u": {"filename": "a", "totalChunks": 1}}}',
        upload("folder/a.txt"),
    ],
}


def cases(table: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(n, v, id=f"{n}-{i}") for n, values in table.items() for i, v in enumerate(values)]


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_what_is_declared_acceptable_is_accepted(name: str, value: Any) -> None:
    assert every_field().check({name: value}) == {}


@pytest.mark.parametrize(("name", "value"), cases(BAD))
def test_what_breaks_a_declaration_is_told_at_its_field(name: str, value: Any) -> None:
    found = every_field().check({name: value})
    assert list(found) == [name]
    assert all(found[name])


def test_required_fields_must_be_filled_in() -> None:
    found = every_field(required=True).check({"text": "", "number": None})
    expected = ["text", "number", "password", "date", "time", "moment", "area", "files"]
    assert found == {name: [REQUIRED] for name in expected}


@pytest.mark.parametrize("value", [0, 0.0, "0", False])
def test_zero_and_false_are_values(value: Any) -> None:
    assert F.Model(F.InputText("t", required=True)).check({"t": value}) == {}


def test_a_bound_of_zero_counts() -> None:
    model = F.Model(F.InputNumber("n", min_value=0))
    assert model.check({"n": -1}) and not model.check({"n": 0})


def test_steps_count_from_the_minimum_else_from_the_declared_value() -> None:
    from_minimum = F.Model(F.InputNumber("n", min_value=1, step=2))
    assert from_minimum.check({"n": 2}) and not from_minimum.check({"n": 3})
    from_value = F.Model(F.InputNumber("n", value=25, step=10))
    assert from_value.check({"n": 30}) and not from_value.check({"n": 35})
    assert not F.Model(F.InputNumber("n", step="any")).check({"n": 0.123})
    assert not F.Model(F.InputNumber("n", step=0.1)).check({"n": 1e300})


def test_a_time_span_may_go_past_midnight() -> None:
    night = F.Model(F.InputTime("t", min_time="22:00", max_time="06:00"))
    assert not night.check({"t": "23:00"}) and not night.check({"t": "05:00"})
    assert night.check({"t": "12:00"})


def test_several_files_need_a_field_for_several() -> None:
    assert F.Model(F.InputFiles("f")).check({"f": UPLOAD}) == {"f": ["Please choose one file."]}
    assert F.Model(F.InputFiles("f", multiple=True)).check({"f": UPLOAD}) == {}
    assert F.Model(F.InputFiles("f", directory=True)).check({"f": UPLOAD}) == {}


def test_files_of_a_folder_need_a_field_for_folders() -> None:
    sent = {"f": upload("folder/a.txt", "folder/deep/b.txt")}
    assert F.Model(F.InputFiles("f", multiple=True)).check(sent) == {"f": ["Please choose files, not a folder."]}
    assert F.Model(F.InputFiles("f", directory=True)).check(sent) == {}


def test_a_file_listed_twice_is_told() -> None:
    # The same name, written once composed and once decomposed.
    found = F.Model(F.InputFiles("f", multiple=True)).check({"f": upload("\u00e4", "a\u0308", "b")})
    assert found == {"f": ["\u00e4 is there twice: please choose it once."]}


def test_a_required_file_must_be_there_whatever_the_list_looks_like() -> None:
    model = F.Model(F.InputFiles("f", required=True))
    for value in ("", None, "{}", upload()):
        assert model.check({"f": value})["f"]
    assert model.check({"f": upload()}) == {"f": [REQUIRED]}


def test_a_file_field_arrives_as_the_set_of_file_names() -> None:
    model = F.Model(F.InputFiles("f", multiple=True), F.InputFiles("g"))
    assert model.parse({"f": UPLOAD, "g": ""}) == {"f": {"a.txt", "b.txt"}, "g": None}


@pytest.mark.parametrize("value", [True, "true", "on", "1", 1])
def test_a_checkbox_is_on_for_every_published_way_to_say_so(value: Any) -> None:
    assert F.Model(F.Checkbox("c")).parse({"c": value}) == {"c": True}


@pytest.mark.parametrize("value", [False, "false", "off", "0", 0, None, "", [], {}, "yes"])
def test_a_checkbox_is_off_for_anything_else(value: Any) -> None:
    assert F.Model(F.Checkbox("c")).parse({"c": value}) == {"c": False}


def test_numbers_arrive_as_they_were_sent() -> None:
    model = F.Model(F.InputNumber("a"), F.InputNumber("b"), F.InputText("c"))
    assert repr(model.parse({"a": "12", "b": 12, "c": 100})) == repr({"a": "12", "b": 12, "c": 100})


def test_only_named_elements_arrive_and_all_of_them_do() -> None:
    model = F.Model(F.Errors(), F.InputText("a"), F.Checkbox("c"), F.Submit("go"), F.Markdown("x"))
    assert model.parse({"unknown": 1}) == {"_global_": None, "a": None, "c": False}


@given(st.dictionaries(st.sampled_from([*GOOD, "_global_", "option", "other"]), JSON_VALUES))
def test_no_value_makes_check_or_parse_fail_or_change_the_form(values: dict[str, Any]) -> None:
    model = every_field()
    before = model.get_model_json()
    found = model.check(values)
    parsed = model.parse(values)
    assert set(found) <= set(parsed)
    assert all(isinstance(message, str) for messages in found.values() for message in messages)
    assert model.get_model_json() == before


@given(JSON_VALUES, JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_no_declaration_from_an_app_makes_check_or_render_fail(a: Any, b: Any, c: Any, d: Any) -> None:
    bounds = {"min_value": a, "max_value": b, "step": c, "min_length": a, "max_length": b, "pattern": c}
    times = {f"{end}_{kind}": v for kind in ("date", "time", "datetime") for end, v in (("min", a), ("max", b))}
    common = {"name": "x", "value": d, "option": [a, {"name": b}], "error": c, "label": a, "text": b, "size": c}
    for kind in ["text", "number", "password", "date", "time", "datetime-local", "textarea", "select", "file"]:
        model = F.Model.model_validate([{"type": kind, **bounds, **times, **common}])
        for value in (a, "5", "2026-01-01", "10:00", "2026-01-01T10:00"):
            model.check({"x": value})
        model.set_data({"x": d})
        model.render().encode()
