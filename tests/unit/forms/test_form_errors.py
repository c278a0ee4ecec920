"""InputsError and the result types."""

from __future__ import annotations

import pickle

import pytest

from kodosumi import dtypes, response
from kodosumi.error import KodosumiError
from kodosumi.forms import InputsError


def test_messages_are_collected_by_field() -> None:
    error = InputsError(name="missing")
    error.add(name="short", other=["a", "b"])
    error.flash("sorry")
    assert error.errors == {"name": ["missing", "short"], "other": ["a", "b"], "_global_": ["sorry"]}
    assert error.has_errors() and error
    assert isinstance(error, KodosumiError)


def test_an_error_with_positional_texts_alone_is_falsy_but_tells_them() -> None:
    error = InputsError("one", 2)
    assert not error and not error.has_errors()
    assert error.messages() == {"_global_": ["one", "2"]}
    assert error.errors == {}


def test_any_field_name_will_do() -> None:
    assert InputsError(self="x", args="y").errors == {"self": ["x"], "args": ["y"]}


def test_an_error_travels_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(InputsError("text", name="missing")))
    assert copy.messages() == {"name": ["missing"], "_global_": ["text"]}


@pytest.mark.parametrize("kind", [response.Markdown, response.HTML, response.Text])
def test_a_result_is_made_of_one_text_a_list_or_several(kind: type[response.Text]) -> None:
    assert kind("a").body == "a"
    assert kind(["a", 1]).body == "a\n1"
    assert kind("a", "b").body == "a\nb"
    assert kind(body="a").model_dump() == {"body": "a"}
    for wrong in (1, None, {"a": 1}):
        with pytest.raises(ValueError):
            kind(wrong)  # type: ignore[arg-type]


def test_dtypes_are_published() -> None:
    upload = dtypes.Upload(files=[dtypes.File(path="in/a", size=1, last_modified=2.0)])
    assert upload.model_dump() == {"files": [{"path": "in/a", "size": 1, "last_modified": 2.0}]}
    assert dtypes.Text is response.Text
