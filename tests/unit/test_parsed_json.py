"""JSON of others: what it holds can always be written again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.events import Event, EventKind, parsed_json
from kodosumi.store import Execution
from kodosumi.store.summary import advance

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=3),
)


@given(ANYTHING)
def test_what_is_parsed_can_be_sent(value: object) -> None:
    json.dumps(parsed_json(json.dumps(value)), ensure_ascii=False).encode()


@given(st.recursive(st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_what_could_be_sent_is_unchanged(value: object) -> None:
    assert parsed_json(json.dumps(value)) == value
    assert parsed_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\uD83D"', b'"\\uDFFF"', '["\\ud800"]', '{"\\ud800": 1}'])
def test_a_lone_surrogate_becomes_a_mark(text: str | bytes) -> None:
    assert "\ufffd" in json.dumps(parsed_json(text), ensure_ascii=False)


def test_a_pair_of_surrogates_stays_one_character() -> None:
    assert parsed_json('"\\ud83d\\ude00"') == "😀"


def test_a_summary_never_holds_what_a_list_cannot_send() -> None:
    event = Event(EventKind.META, 1.0, '{"dict": {"summary": "\\ud800", "tags": ["\\udfff"]}}')

    assert advance(Execution("f", "u"), [event]).meta == {"summary": "\ufffd", "tags": ["\ufffd"]}
