"""The fold from events to summary, and what a search looks into."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kodosumi.events import Event, EventKind, ExecutionState
from kodosumi.store import Execution
from kodosumi.store.base import MAX_SUMMARY_CHARS
from kodosumi.store.summary import MAX_SEARCH_CHARS, advance, final_excerpt, search_text
from tests.unit.store.histories import FINISHED, OWNER, STARTING, event, meta, text

NEW = Execution("f", OWNER)
EVENTS = st.builds(
    Event,
    st.sampled_from(list(EventKind)),
    st.floats(0, 1e9),
    st.one_of(
        st.text(max_size=10),
        st.sampled_from(["finished", "error", "paused", "awaiting", '{"dict": {"lid": "a"}}', '{"dict": {}}', "null"]),
    ),
)


@given(st.lists(EVENTS, max_size=20), st.integers(0, 20))
def test_folding_in_pieces_gives_the_same_as_folding_at_once(events: list[Event], cut: int) -> None:
    assert advance(advance(NEW, events[:cut]), events[cut:]) == advance(NEW, events)


@given(st.lists(EVENTS, max_size=20))
def test_what_follows_the_end_is_left_out(events: list[Event]) -> None:
    ends = [place for place, one in enumerate(events, 1) if one.ends_execution]
    assert advance(NEW, events).seq == (ends[0] if ends else len(events))
    assert advance(NEW, events).state.terminal == bool(ends)


def test_the_end_closes_every_lock() -> None:
    locked = advance(NEW, [STARTING, event(EventKind.LOCK, '{"dict": {"lid": "a"}}')])
    assert locked.locks == ("a",)
    assert advance(locked, [FINISHED]).locks == ()


def test_awaiting_is_never_a_stored_state() -> None:
    assert advance(NEW, [event(EventKind.STATUS, "awaiting")]).state is ExecutionState.STARTING


def test_a_pause_is_shown_before_an_open_lock_and_ends_with_running() -> None:
    locked = advance(NEW, [STARTING, event(EventKind.LOCK, '{"dict": {"lid": "a"}}')])
    paused = advance(locked, [event(EventKind.STATUS, "paused", 1_002.0)])
    assert locked.shown_state is ExecutionState.AWAITING
    assert (paused.state, paused.shown_state, paused.locks) == (ExecutionState.PAUSED, ExecutionState.PAUSED, ("a",))
    assert not paused.state.terminal and paused.changed_at == 1_002.0
    assert "status:paused" in search_text(paused)
    assert advance(paused, [event(EventKind.STATUS, "running")]).shown_state is ExecutionState.AWAITING


def test_an_attempt_changes_nothing_but_the_number_of_events() -> None:
    begun = advance(NEW, [STARTING])
    attempt = event(EventKind.ATTEMPT, '{"dict": {"number": 2, "reason": "lost"}}')
    assert advance(begun, [attempt]) == replace(begun, seq=2)


def test_long_inputs_keep_their_beginning_and_long_errors_their_end() -> None:
    long = "a" + "x" * MAX_SUMMARY_CHARS + "z"
    execution = advance(NEW, [event(EventKind.INPUTS, long), event(EventKind.ERROR, long)])
    assert execution.inputs == long[:-2]
    assert execution.error == long[2:]


def test_a_broken_meta_keeps_the_one_before() -> None:
    execution = advance(NEW, [meta(summary="good"), event(EventKind.META, "{"), event(EventKind.META, "[]")])
    assert execution.meta == {"summary": "good"}


def test_the_search_text_has_the_published_pairs() -> None:
    about = meta(author="Ann", organization="ACME", summary="Sum", description="Des", tags=["a", "b"])
    inputs, final = event(EventKind.INPUTS, '{"x": 1}'), event(EventKind.FINAL, "42")
    events = [STARTING, inputs, about, final, FINISHED]
    assert set(search_text(advance(NEW, events), final_excerpt(events)).splitlines()) == {
        "summary:Sum",
        "description:Des",
        "author:Ann",
        "organization:ACME",
        "fid:f",
        "status:finished",
        "tag:a",
        "tag:b",
        "startup:1970-01-01T00:16:40+00:00",
        'inputs:{"x": 1}',
        "final:42",
    }


def test_the_search_text_is_bounded() -> None:
    long = "x" * 100_000
    execution = advance(NEW, [text("a"), meta(summary=long, tags=[long] * 99), event(EventKind.INPUTS, long)])
    assert len(search_text(execution, long)) <= MAX_SEARCH_CHARS
