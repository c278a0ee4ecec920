"""The published JSON of every element, and models made from it again."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

import kodosumi.service.inputs.errors as published_errors
import kodosumi.service.inputs.forms as published_forms
from kodosumi import forms as F
from kodosumi.forms.model import ELEMENTS

TEXT_KEYS = ["type", "name", "label", "value", "required", "placeholder", "size", "pattern"]
FIELD_KEYS = TEXT_KEYS[:6]

ONE_OF_EACH = [
    (F.HTML("<b>x</b>"), "html", ["type", "text"]),
    (F.Markdown("# x"), "markdown", ["type", "text"]),
    (F.Break(), "break", ["type", "text"]),
    (F.HR(), "hr", ["type", "text"]),
    (F.Errors(), "errors", ["type"]),
    (F.InputText("n"), "text", TEXT_KEYS),
    (F.InputNumber("n"), "number", [*TEXT_KEYS, "min_value", "max_value", "step"]),
    (F.InputPassword("n"), "password", [*TEXT_KEYS, "min_length", "max_length"]),
    (F.InputDate("n"), "date", [*FIELD_KEYS, "min_date", "max_date"]),
    (F.InputTime("n"), "time", [*FIELD_KEYS, "min_time", "max_time", "step"]),
    (F.InputDateTime("n"), "datetime-local", [*FIELD_KEYS, "min_datetime", "max_datetime", "step"]),
    (F.InputArea("n"), "textarea", [*FIELD_KEYS, "rows", "cols", "max_length"]),
    (F.Checkbox("n"), "boolean", ["type", "name", "label", "value", "option"]),
    (F.InputOption("n"), "option", ["type", "name", "label", "value"]),
    (F.Select("n", [F.InputOption("a")]), "select", ["type", "name", "label", "value", "option", "error"]),
    (F.Submit("go"), "submit", ["type", "text"]),
    (F.Cancel("no"), "cancel", ["type", "text"]),
    (F.Action("n", "v", text="t"), "action", ["type", "name", "value", "text"]),
    (F.InputFiles("n"), "file", ["type", "name", "label", "value", "required", "multiple", "directory"]),
]


@pytest.mark.parametrize(("element", "kind", "keys"), ONE_OF_EACH, ids=[row[1] for row in ONE_OF_EACH])
def test_an_element_publishes_its_keys_in_order(element: F.Element, kind: str, keys: list[str]) -> None:
    assert list(element.to_dict()) == keys
    assert element.to_dict()["type"] == kind


def test_every_kind_of_element_is_covered_and_exported() -> None:
    assert {row[1] for row in ONE_OF_EACH} == set(ELEMENTS)
    assert {kind.__name__ for kind in ELEMENTS.values()} <= set(F.__all__)
    assert published_forms.Model is F.Model and published_errors.InputsError is F.InputsError
    assert set(F.__all__) <= set(vars(published_forms))


def test_a_model_survives_its_json() -> None:
    model = F.Model(*(row[0] for row in ONE_OF_EACH))
    elements = json.loads(model.get_model_json())["elements"]
    assert elements == model.get_model()
    assert F.Model.model_validate(elements).get_model() == elements


def test_fields_have_the_published_defaults() -> None:
    assert F.InputText("n").to_dict() == {
        "type": "text",
        "name": "n",
        "label": None,
        "value": None,
        "required": False,
        "placeholder": None,
        "size": None,
        "pattern": None,
    }
    assert F.Checkbox("c").to_dict()["option"] == "on"
    assert F.Checkbox("c").to_dict()["value"] is False


def test_dates_are_published_as_iso_text() -> None:
    field = F.InputDate("d", value=datetime.date(2026, 1, 31), min_date=datetime.date(2026, 1, 1))
    assert field.to_dict()["value"] == "2026-01-31"
    assert json.loads(F.Model(field).get_model_json())["elements"][0]["min_date"] == "2026-01-01"


def test_a_select_takes_options_as_objects_or_as_dicts_and_flags_the_chosen_one() -> None:
    select = F.Select("s", [F.InputOption("a", "A"), {"name": "b", "label": "B"}], value="b")
    assert [option["value"] for option in select.to_dict()["option"]] == [False, True]


def test_options_shared_by_two_selects_stay_apart() -> None:
    shared = [F.InputOption("a"), F.InputOption("b")]
    first, second = F.Select("x", shared, value="a"), F.Select("y", shared, value="b")
    assert [o["value"] for o in first.to_dict()["option"]] == [True, False]
    assert [o["value"] for o in second.to_dict()["option"]] == [False, True]


@pytest.mark.parametrize(
    "broken",
    [None, 1, "text", [], {}, {"type": None}, {"type": "nope"}, {"type": []}, {"type": "text"}, {"type": "html"}],
)
def test_what_is_no_element_is_left_out(broken: Any) -> None:
    model = F.Model.model_validate([broken, {"type": "text", "name": "kept", "unknown": 1}])
    assert [child.name for child in model.children] == ["kept"]


def test_errors_go_to_their_field_and_to_the_errors_element() -> None:
    elements = F.Model(F.Errors(), F.InputText("a"), F.InputPassword("p")).get_model()
    model = F.Model.model_validate(elements, {"a": ["bad"], "p": ["weak"], "_global_": ["sorry"]})
    assert [child.error for child in model.children] == [["sorry"], ["bad"], ["weak"]]


def test_errors_without_a_place_get_one() -> None:
    model = F.Model.model_validate([{"type": "text", "name": "a"}], {"gone": ["bad"], "_global_": ["sorry"], "a": []})
    assert model.children[0].error == ["gone: bad", "sorry"]
    assert model.children[1].error == []


def test_set_data_fills_values_and_clears_checkboxes() -> None:
    model = F.Model(
        F.InputText("a", value="x"),
        F.InputNumber("n", value=1),
        F.Checkbox("c", value=True),
        F.Select("s", [F.InputOption("o"), F.InputOption("p", value=True)]),
        F.InputPassword("p"),
    )
    model.set_data({"n": 0, "s": "o", "p": "secret"})
    text, number, box, select, password = model.get_model()
    assert (text["value"], number["value"], box["value"], password["value"]) == ("x", 0, False, None)
    assert [option["value"] for option in select["option"]] == [True, False]


def test_an_empty_set_data_clears_only_checkboxes() -> None:
    model = F.Model(F.InputText("a", value="x"), F.Checkbox("c", value=True))
    model.set_data({})
    assert [child["value"] for child in model.get_model()] == ["x", False]


def test_a_copy_is_filled_without_changing_the_original() -> None:
    model = F.Model(F.Select("s", [F.InputOption("a"), F.InputOption("b")]), F.InputText("t"))
    before = model.get_model_json()
    model.copy().set_data({"s": "b", "t": "x"})
    assert model.get_model_json() == before
