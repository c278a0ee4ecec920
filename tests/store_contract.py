"""What every store must keep: one suite, run on each member of ``STORES`` by a subclass with its fixtures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kodosumi.error import ExecutionNotFound, StoreError
from kodosumi.events import Batch, Event, EventKind, ExecutionState, Position, new_fid
from kodosumi.store import ExecutionStore, Notice
from kodosumi.store.summary import advance
from tests.conditions import until
from tests.unit.store.histories import (
    FAILED,
    FINISHED,
    OTHER,
    OWNER,
    RUNNING,
    STARTING,
    append_all,
    batch,
    begun,
    ended,
    event,
    fids,
    meta,
    payloads,
    status,
    text,
)

MakeStore = Callable[..., ExecutionStore]

UNCONCERNED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""Each example makes a store of its own, and several classes run the same examples on purpose."""

LOCK = event(EventKind.LOCK, '{"dict": {"lid": "a"}}')

STEPS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.lists(st.sampled_from([STARTING, RUNNING, FINISHED, FAILED, text("x"), text("y")]), min_size=1, max_size=4),
    ),
    max_size=8,
)


async def ended_at(store: ExecutionStore, at: float) -> str:
    """An execution that finished at a moment."""
    return await begun(store, text("x"), status(ExecutionState.FINISHED, at))


class StoreContract:
    """Subclasses give a fixture ``make``: a function that returns an empty store with a storage of its own.

    It hands on the option ``notices``.
    """

    @pytest.fixture
    async def store(self, make: MakeStore) -> AsyncIterator[ExecutionStore]:
        """An empty store."""
        store = make()
        yield store
        await store.close()

    # appending -------------------------------------------------------------------------------------------------------

    async def test_nothing_is_lost_events_are_read_in_the_order_they_were_appended(self, store: ExecutionStore) -> None:
        fid = new_fid()
        await store.append(fid, OWNER, [batch(1, STARTING, text("one")), batch(2, text("two"))])
        appended = await store.append(fid, OWNER, [batch(3, text("three"))])

        events = await store.events(fid)
        assert [stored.seq for stored in events] == [1, 2, 3, 4]
        assert [stored.payload for stored in events] == ["starting", "one", "two", "three"]
        assert events[1].kind is EventKind.STDOUT and events[1].timestamp == 1_000.0
        assert appended == (4, 1, 0, ExecutionState.STARTING)

    async def test_nothing_twice_a_batch_put_again_is_stored_once(self, store: ExecutionStore) -> None:
        fid = new_fid()
        first, second = batch(1, STARTING), batch(2, text("one"))
        await store.append(fid, OWNER, [first, second])
        again = await store.append(fid, OWNER, [first, second, batch(3, text("two"))])

        assert await payloads(store, fid) == ["starting", "one", "two"]
        assert again == (3, 1, 0, ExecutionState.STARTING)

    async def test_a_batch_that_comes_twice_in_one_append_is_stored_once(self, store: ExecutionStore) -> None:
        fid = new_fid()
        await store.append(fid, OWNER, [batch(1, STARTING), batch(1, STARTING)])
        assert await payloads(store, fid) == ["starting"]

    async def test_a_new_epoch_of_the_transport_continues_whatever_its_offsets(self, store: ExecutionStore) -> None:
        fid = new_fid()
        await store.append(fid, OWNER, [batch(900, STARTING, epoch=1)])
        await store.append(fid, OWNER, [batch(1, text("after the restart"), epoch=2)])
        await store.append(fid, OWNER, [batch(901, text("before the restart"), epoch=1)])
        assert await payloads(store, fid) == ["starting", "after the restart"]

    async def test_one_end_events_behind_the_terminal_event_are_refused(self, store: ExecutionStore) -> None:
        fid = new_fid()
        ending = await store.append(fid, OWNER, [batch(1, STARTING, FINISHED, text("late")), batch(2, FAILED)])
        later = await store.append(fid, OWNER, [batch(3, FAILED, text("later"))])
        again = await store.append(fid, OWNER, [batch(3, FAILED, text("later"))])

        assert ending == (2, 2, 2, ExecutionState.FINISHED)
        assert later == (2, 0, 2, ExecutionState.FINISHED)
        assert again == (2, 0, 0, ExecutionState.FINISHED)
        assert await payloads(store, fid) == ["starting", "finished"]

    async def test_appending_nothing_begins_nothing(self, store: ExecutionStore) -> None:
        assert await store.append(new_fid(), OWNER, []) == (0, 0, 0, ExecutionState.STARTING)
        assert await store.executions() == [] and await store.live() == []

    async def test_an_execution_keeps_its_first_owner(self, store: ExecutionStore) -> None:
        fid = await begun(store)
        await store.append(fid, OTHER, [batch(2, RUNNING)])
        assert (await store.execution(fid)).username == OWNER
        assert await store.count(username=OTHER) == 0

    async def test_many_tasks_append_at_once_to_their_executions(self, store: ExecutionStore) -> None:
        async def run(fid: str) -> None:
            for offset in range(1, 21):
                await store.append(fid, OWNER, [batch(offset, text(f"{offset}"))])

        running = [new_fid() for _ in range(12)]
        await asyncio.gather(*map(run, running))
        for fid in running:
            assert await payloads(store, fid) == [f"{offset}" for offset in range(1, 21)]
        assert await store.count() == 12

    @pytest.mark.parametrize("payload", ["", "\0", "\ud800", "💥" * 3, "\u2028\r\n", "{" * 5_000, "[" * 100_000])
    @pytest.mark.parametrize("kind", list(EventKind))
    async def test_no_payload_stops_an_append(self, store: ExecutionStore, kind: EventKind, payload: str) -> None:
        fid = await begun(store, event(kind, payload))
        await store.append(fid, OWNER, [batch(2, FINISHED)])
        assert (await store.execution(fid)).state is ExecutionState.FINISHED
        assert len(await store.executions(query="finished")) == 1

    @pytest.mark.parametrize(
        "payload",
        ['{"dict": []}', "[]", "1", '{"dict": {"lid": 3, "tags": 3}}', '{"dict": {"summary": {"a": "\\ud800"}}}'],
    )
    async def test_a_payload_of_another_shape_is_kept_and_changes_nothing_else(
        self, store: ExecutionStore, payload: str
    ) -> None:
        fid = await begun(store, *(event(kind, payload) for kind in (EventKind.META, EventKind.LOCK, EventKind.LEASE)))
        assert (await store.execution(fid)).locks == ()
        assert (await payloads(store, fid))[1:] == [payload] * 3

    async def test_times_that_are_no_numbers_are_kept_as_zero(self, store: ExecutionStore) -> None:
        fid = await begun(store, event(EventKind.STDOUT, "x", float("nan")), event(EventKind.META, "{}", float("inf")))
        assert [stored.timestamp for stored in await store.events(fid)] == [1_000.0, 0.0, 0.0]

    @given(deliveries=st.lists(STEPS, max_size=5))
    @settings(max_examples=40, deadline=None, suppress_health_check=UNCONCERNED)
    def test_whatever_is_delivered_again_or_out_of_order_is_stored_once_up_to_the_end(
        self, make: MakeStore, deliveries: list[list[tuple[int, list[Event]]]]
    ) -> None:
        async def scenario() -> None:
            store = make()
            expected: list[Event] = []
            position = 0
            try:
                for delivery in deliveries:
                    batches = [
                        Batch(Position(1, offset), events) for offset, events in sorted(delivery, key=lambda d: d[0])
                    ]
                    appended = await store.append("f1", OWNER, batches)
                    before, refused = len(expected), 0
                    for (_, offset), events in batches:
                        if offset > position:
                            position = offset
                            for one in events:
                                if expected and expected[-1].ends_execution:
                                    refused += 1
                                else:
                                    expected.append(one)
                    assert (appended.seq, appended.stored, appended.refused) == (
                        len(expected),
                        len(expected) - before,
                        refused,
                    )
                if expected:
                    stored = await store.events("f1")
                    assert [one.seq for one in stored] == list(range(1, len(expected) + 1))
                    assert [Event(*one[1:]) for one in stored] == expected
                    execution = await store.execution("f1")
                    assert execution == advance(type(execution)("f1", OWNER), expected)
                    assert await store.executions() == [execution]
            finally:
                await store.close()

        asyncio.run(scenario())

    # the summary -----------------------------------------------------------------------------------------------------

    async def test_the_summary_tells_what_the_events_told(self, store: ExecutionStore) -> None:
        fid = new_fid()
        inputs = event(EventKind.INPUTS, '{"dict": {"x": 1}}', 1_001.0)
        about = Event(EventKind.META, 1_002.0, json.dumps({"dict": {"summary": "Prime gaps", "tags": ["math"]}}))
        ending = [event(EventKind.ERROR, "boom", 1_004.0), status(ExecutionState.ERROR, 1_005.0)]
        await append_all(store, fid, [batch(1, STARTING, inputs), batch(2, about, RUNNING), batch(3, *ending)])

        execution = await store.execution(fid)
        assert (execution.fid, execution.username, execution.seq) == (fid, OWNER, 6)
        assert execution.state is ExecutionState.ERROR and execution.error == "boom"
        assert (execution.started_at, execution.changed_at, execution.finished_at) == (1_000.0, 1_005.0, 1_005.0)
        assert execution.meta == {"summary": "Prime gaps", "tags": ["math"]}
        assert execution.inputs == '{"dict": {"x": 1}}'
        assert await store.executions() == [execution]

    async def test_an_open_lock_shows_as_awaiting_until_its_lease(self, store: ExecutionStore) -> None:
        fid = await begun(store, RUNNING, event(EventKind.LOCK, '{"dict": {"lid": "a"}}'))
        await store.append(fid, OWNER, [batch(2, event(EventKind.LOCK, '{"dict": {"lid": "b"}}'))])
        waiting = await store.execution(fid)
        await store.append(fid, OWNER, [batch(3, event(EventKind.LEASE, '{"dict": {"lid": "a"}}'))])
        still = await store.execution(fid)
        await store.append(fid, OWNER, [batch(4, event(EventKind.LEASE, '{"dict": {"lid": "b"}}'))])

        assert waiting.locks == ("a", "b") and waiting.shown_state is ExecutionState.AWAITING
        assert waiting.state is ExecutionState.RUNNING
        assert still.locks == ("b",)
        assert (await store.execution(fid)).shown_state is ExecutionState.RUNNING

    # reading events --------------------------------------------------------------------------------------------------

    async def test_a_reader_never_misses_pages_follow_each_other_without_gap(self, store: ExecutionStore) -> None:
        fid = await begun(store, *(text(f"{number}") for number in range(2, 26)))
        seen: list[int] = []
        while page := await store.events(fid, seen[-1] if seen else 0, limit=7):
            seen += [stored.seq for stored in page]
        assert seen == list(range(1, 26))

    async def test_kinds_choose_events_and_keep_their_places(self, store: ExecutionStore) -> None:
        fid = await begun(store, text("a"), event(EventKind.RESULT, "r"), text("b"), event(EventKind.FINAL, "f"))
        found = await store.events(fid, kinds=[EventKind.RESULT, EventKind.FINAL])
        assert [stored.seq for stored in found] == [3, 5]
        assert await store.events(fid, kinds=[]) == []
        assert [stored.seq for stored in await store.events(fid, 3, 1, kinds={EventKind.STDOUT})] == [4]

    @pytest.mark.parametrize(("after", "limit"), [(99, 10), (10**30, 10), (0, 0), (0, -1)])
    async def test_a_page_beyond_the_end_or_of_no_size_is_empty(
        self, store: ExecutionStore, after: int, limit: int
    ) -> None:
        fid = await begun(store)
        assert await store.events(fid, after, limit) == []

    async def test_a_place_before_the_beginning_is_the_beginning(self, store: ExecutionStore) -> None:
        fid = await begun(store, text("a"))
        assert len(await store.events(fid, -5)) == 2

    async def test_the_last_event_of_a_kind_is_found(self, store: ExecutionStore) -> None:
        fid = await begun(store, event(EventKind.RESULT, "1"), event(EventKind.RESULT, "2"), text("x"))
        last = await store.last_event(fid, EventKind.RESULT)
        assert last is not None and (last.seq, last.payload) == (3, "2")
        assert await store.last_event(fid, EventKind.FINAL) is None

    async def test_an_unknown_execution_is_not_found(self, store: ExecutionStore) -> None:
        fid = new_fid()
        for read in (
            store.events(fid),
            store.last_event(fid, EventKind.FINAL),
            store.execution(fid),
            store.archive(fid),
        ):
            with pytest.raises(ExecutionNotFound) as raised:
                await read
            assert raised.value.fid == fid
        await store.purge(fid)

    # lists -----------------------------------------------------------------------------------------------------------

    async def test_pages_are_newest_first_and_each_execution_is_on_one(self, store: ExecutionStore) -> None:
        made = [await ended(store) for _ in range(7)]
        first = await fids(store, limit=3)
        second = await fids(store, limit=3, before=first[-1])
        third = await fids(store, limit=3, before=second[-1])
        assert first + second + third == sorted(made, reverse=True)
        assert await fids(store, after=made[4]) == [made[6], made[5]]
        assert await fids(store, limit=0) == []

    async def test_lists_and_counts_are_per_user(self, store: ExecutionStore) -> None:
        mine, theirs = await ended(store), await begun(store, username=OTHER)
        assert await fids(store, username=OWNER) == [mine]
        assert await fids(store, username=OTHER) == [theirs]
        assert await fids(store) == [theirs, mine]
        assert (await store.count(), await store.count(username=OWNER), await store.count(username="x")) == (2, 1, 0)
        assert await store.count(username="") == 0

    async def test_the_tally_says_how_many_live_in_which_state_and_how_many_have_ended(
        self, store: ExecutionStore
    ) -> None:
        assert await store.tally() == ({}, {})
        await begun(store)
        await begun(store, RUNNING, username=OTHER)
        asking, paused = await begun(store, RUNNING, LOCK), await begun(store, LOCK, status(ExecutionState.PAUSED))
        gone, failed = await ended(store), await begun(store, RUNNING, FAILED)
        await store.append(failed, OWNER, [batch(2, FAILED, FINISHED)])
        states = ExecutionState
        living = {states.STARTING: 1, states.RUNNING: 1, states.AWAITING: 1, states.PAUSED: 1}
        assert await store.tally() == (living, {states.FINISHED: 1, states.ERROR: 1})

        await store.archive(failed)
        await store.purge(gone)
        await store.append(asking, OWNER, [batch(2, FINISHED)])
        await store.append(paused, OWNER, [batch(2, text("still paused"))])
        del living[states.AWAITING]
        assert await store.tally() == (living, {states.FINISHED: 2, states.ERROR: 1})

    async def test_living_executions_are_listed_oldest_first(self, store: ExecutionStore) -> None:
        first = await begun(store)
        await ended(store)
        second = await begun(store, username=OTHER)
        assert [execution.fid for execution in await store.live()] == [first, second]
        await store.append(first, OWNER, [batch(2, FAILED)])
        assert [execution.fid for execution in await store.live()] == [second]

    @pytest.mark.parametrize("state", ["living", "ended"])
    @pytest.mark.parametrize(
        "query",
        [
            "prime",
            "PRIME GAPS",
            "tag:math",
            "e G",
            "ü",
            "STRASSE",
            'say "hi"',
            "100%",
            "a_b",
            "final:",
            "forty-two",
            "author:ann",
        ],
    )
    async def test_a_search_finds_any_part_of_the_text_in_any_case(
        self, store: ExecutionStore, query: str, state: str
    ) -> None:
        about = meta(
            summary='Prime Gaps, 100% a_b, say "hi"', description="Über die Straße", tags=["math", "x"], author="Ann"
        )
        final = event(EventKind.FINAL, '{"str": "forty-two"}')
        make = begun if state == "living" else ended
        found = await make(store, about, final)
        await ended(store, meta(summary="other"), username=OTHER)
        if query == "final:":
            assert len(await fids(store, query=query)) == 2
        else:
            assert await fids(store, query=query) == [found]
            assert await fids(store, query=query, username=OTHER) == []
            assert await fids(store, query=query, before=found) == []

    @pytest.mark.parametrize(
        "query", ["1_0", "%%%", "a*b", "OR", "NEAR(", "'; DROP", "\0\0\0", "\ud800\ud800\ud800", '"""']
    )
    async def test_a_search_is_text_and_nothing_else(self, store: ExecutionStore, query: str) -> None:
        await ended(store, meta(summary="100 axb"))
        assert await fids(store, query=query) == []

    async def test_a_search_finds_the_state_of_now_only(self, store: ExecutionStore) -> None:
        fid = await begun(store, RUNNING)
        assert await fids(store, query="status:running") == [fid]
        await store.append(fid, OWNER, [batch(2, event(EventKind.FINAL, "x"))])
        await store.append(fid, OWNER, [batch(3, FINISHED)])
        assert await fids(store, query="status:running") == []
        assert await fids(store, query="status:finished") == [fid]

    # changes ---------------------------------------------------------------------------------------------------------

    async def test_changes_are_each_given_once_behind_the_cursor(self, store: ExecutionStore) -> None:
        before = time.time() - 1
        first, second = await begun(store), await begun(store, username=OTHER)
        changes = await store.changes(before)
        assert [change.execution.fid for change in changes] == [first, second]
        assert changes[0].modified_at < changes[1].modified_at
        assert abs(changes[1].modified_at - time.time()) < 60

        cursor = changes[-1].modified_at
        assert await store.changes(cursor) == []
        await store.append(first, OWNER, [batch(2, FINISHED)])
        (change,) = await store.changes(cursor)
        assert change.execution == await store.execution(first)
        assert change.modified_at > cursor

    async def test_changes_come_in_pages_without_loss(self, store: ExecutionStore) -> None:
        made = [await begun(store) for _ in range(10)]
        seen: list[str] = []
        cursor = 0.0
        while page := await store.changes(cursor, limit=3):
            seen += [change.execution.fid for change in page]
            cursor = page[-1].modified_at
        assert seen == made

    async def test_changes_are_chosen_by_user_and_query_but_tell_of_everything_hidden(
        self, store: ExecutionStore
    ) -> None:
        match = await ended(store, meta(summary="Prime"))
        hidden = await ended(store, meta(summary="other"))
        await ended(store, meta(summary="another"))
        await ended(store, meta(summary="Prime"), username=OTHER)
        await store.archive(hidden)
        changes = await store.changes(0.0, username=OWNER, query="prime")
        assert [(change.execution.fid, change.execution.archived) for change in changes] == [
            (match, False),
            (hidden, True),
        ]

    # hiding and removing ---------------------------------------------------------------------------------------------

    async def test_an_archived_execution_is_hidden_and_kept(self, store: ExecutionStore) -> None:
        fid, other = await ended(store, text("kept")), await ended(store)
        await store.archive(fid)
        await store.archive(fid)

        assert await fids(store) == [other] and await store.count() == 1
        assert await payloads(store, fid) == ["starting", "kept", "finished"]
        assert (await store.execution(fid)).archived
        assert [execution.fid for execution in await store.archived(time.time() + 60)] == [fid]
        assert await store.archived(time.time() - 60) == []

    async def test_a_living_execution_can_be_hidden_and_goes_on(self, store: ExecutionStore) -> None:
        fid = await begun(store)
        await store.archive(fid)
        await store.append(fid, OWNER, [batch(2, FINISHED)])
        execution = await store.execution(fid)
        assert execution.archived and execution.state is ExecutionState.FINISHED
        assert await store.count() == 0 and await fids(store) == []

    async def test_a_purged_execution_is_gone(self, store: ExecutionStore) -> None:
        fid = await ended(store, meta(summary="Prime"))
        cursor = (await store.changes(0.0))[-1].modified_at
        await store.purge(fid)
        await store.purge(fid)

        with pytest.raises(ExecutionNotFound):
            await store.execution(fid)
        with pytest.raises(ExecutionNotFound):
            await store.events(fid)
        with pytest.raises(ExecutionNotFound):
            await store.archive(fid)
        assert await store.count() == 0 and await fids(store) == [] and await fids(store, query="prime") == []
        assert await store.archived(time.time() + 60) == []
        (change,) = await store.changes(cursor)
        assert change.execution.fid == fid and change.execution.archived and change.execution.meta == {}

    async def test_events_delivered_again_do_not_bring_a_purged_execution_back(self, store: ExecutionStore) -> None:
        fid = await ended(store)
        await store.purge(fid)
        appended = await store.append(fid, OWNER, [batch(1, STARTING, FINISHED)])
        assert appended == (0, 0, 0, ExecutionState.FINISHED)
        with pytest.raises(ExecutionNotFound):
            await store.execution(fid)

    async def test_a_living_execution_cannot_be_purged(self, store: ExecutionStore) -> None:
        fid = await begun(store, text("kept"))
        with pytest.raises(StoreError, match=fid):
            await store.purge(fid)
        assert await payloads(store, fid) == ["starting", "kept"]

    # removing for good, by age ------------------------------------------------------------------------------------

    async def test_what_ended_long_ago_is_removed_oldest_first_and_at_most_so_many(self, store: ExecutionStore) -> None:
        made = [await ended_at(store, at) for at in (300.0, 100.0, 200.0)]
        living = await begun(store)

        assert await store.expire(250.0, 1) == 1
        assert await fids(store) == sorted([made[0], made[2], living], reverse=True)
        assert await store.expire(250.0, 10) == 1
        assert await store.expire(250.0, 10) == 0
        assert await fids(store) == sorted([made[0], living], reverse=True) and await store.count() == 2
        assert await store.expire(300.0, 10) == 0
        assert await store.expire(float("inf"), 0) == 0

    async def test_a_living_execution_never_expires(self, store: ExecutionStore) -> None:
        fid = await begun(store, text("kept"))
        assert await store.expire(1e12, 10) == 0
        assert await payloads(store, fid) == ["starting", "kept"]

    async def test_a_hidden_execution_expires_as_any_other(self, store: ExecutionStore) -> None:
        fid, kept = await ended_at(store, 100.0), await ended_at(store, 300.0)
        await store.archive(fid)
        assert await store.expire(200.0, 10) == 1
        assert await store.archived(time.time() + 60) == []
        with pytest.raises(ExecutionNotFound):
            await store.execution(fid)
        assert await fids(store) == [kept] and await store.count() == 1

    async def test_an_expired_execution_is_gone_and_readers_are_told(self, store: ExecutionStore) -> None:
        fid = await ended_at(store, 100.0)
        cursor = (await store.changes(0.0))[-1].modified_at
        assert await store.expire(200.0, 10) == 1

        with pytest.raises(ExecutionNotFound):
            await store.events(fid)
        (change,) = await store.changes(cursor)
        assert change.execution.fid == fid and change.execution.archived
        assert await store.append(fid, OWNER, [batch(1, STARTING)]) == (0, 0, 0, ExecutionState.FINISHED)

    async def test_files_go_before_their_execution_and_what_keeps_its_files_stays(self, store: ExecutionStore) -> None:
        made = [await ended_at(store, 100.0 + number) for number in range(4)]
        young, asked = await ended_at(store, 900.0), list[str]()

        async def remove_files(executions: Sequence[tuple[str, str]]) -> set[str]:
            for username, fid in executions:
                assert username == OWNER and (await store.execution(fid)).fid == fid
                asked.append(fid)
            return {fid for _, fid in executions} - {made[1]}

        assert await store.expire(200.0, 10, remove_files) == 3
        assert asked == made
        assert await fids(store) == sorted([made[1], young], reverse=True)
        assert await payloads(store, made[1]) == ["starting", "x", "finished"]
        assert await store.expire(200.0, 10, remove_files) == 0
        assert await store.expire(200.0, 10) == 1

    async def test_a_removal_of_files_that_fails_leaves_the_execution(self, store: ExecutionStore) -> None:
        fid = await ended_at(store, 100.0)

        async def fails(executions: Sequence[tuple[str, str]]) -> set[str]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.expire(200.0, 10, fails)
        assert await fids(store) == [fid] and await payloads(store, fid)
        assert await store.expire(200.0, 10) == 1

    async def test_several_who_expire_at_once_remove_each_execution_once(self, store: ExecutionStore) -> None:
        for number in range(12):
            await ended_at(store, 100.0 + number)
        removed = await asyncio.gather(*(store.expire(200.0, 20) for _ in range(4)))
        assert sum(removed) + await store.expire(200.0, 20) == 12
        assert await store.count() == 0

    # launches --------------------------------------------------------------------------------------------------------

    async def test_a_kept_launch_is_given_back_and_the_first_counts(self, store: ExecutionStore) -> None:
        fid, other = new_fid(), new_fid()
        await store.keep_launch(fid, OWNER, b"\0first\xff")
        await store.keep_launch(fid, OTHER, b"second")
        await store.keep_launch(other, OTHER, b"")
        assert await store.launch(fid) == b"\0first\xff" and await store.launch(other) == b""

    async def test_of_many_launches_kept_at_once_one_counts_as_a_whole(self, store: ExecutionStore) -> None:
        fid = new_fid()
        given = [bytes([number]) * 5_000_000 for number in range(4)]
        await asyncio.gather(*(store.keep_launch(fid, OWNER, launch) for launch in given))
        kept = await store.launch(fid)
        assert kept in given
        await asyncio.gather(*(store.keep_launch(fid, OWNER, launch) for launch in given))
        assert await store.launch(fid) == kept

    async def test_a_launch_of_100_mb_is_kept(self, store: ExecutionStore) -> None:
        fid, launch = new_fid(), bytes(range(256)) * 390_626
        await store.keep_launch(fid, OWNER, launch)
        assert await store.launch(fid) == launch
        await store.drop_launch(fid)
        with pytest.raises(ExecutionNotFound):
            await store.launch(fid)

    async def test_a_launch_that_is_unknown_or_dropped_is_not_found(self, store: ExecutionStore) -> None:
        fid = new_fid()
        await store.drop_launch(fid)
        await store.keep_launch(fid, OWNER, b"x")
        for _ in range(2):
            await store.drop_launch(fid)
        for unknown in (fid, new_fid(), "", "../x", "a\0b"):
            with pytest.raises(ExecutionNotFound):
                await store.launch(unknown)

    async def test_a_kept_launch_shows_no_execution(self, store: ExecutionStore) -> None:
        fid = new_fid()
        await store.keep_launch(fid, OWNER, b"x")
        assert await store.executions() == [] and await store.live() == [] and await store.changes(0.0) == []
        assert await store.count() == 0 and await store.archived(time.time() + 60) == []
        with pytest.raises(ExecutionNotFound):
            await store.execution(fid)
        with pytest.raises(ExecutionNotFound):
            await store.events(fid)
        assert (await store.append(fid, OWNER, [batch(1, STARTING)])).seq == 1
        assert await fids(store) == [fid] and await store.launch(fid) == b"x"

    async def test_a_purge_and_an_expiry_take_the_launch_along(self, store: ExecutionStore) -> None:
        old, ended_now, kept = await ended_at(store, 100.0), await ended(store), await begun(store)
        for fid in (old, ended_now, kept):
            await store.keep_launch(fid, OWNER, b"x")
        await store.purge(ended_now)
        assert await store.expire(200.0, 10) == 1
        for gone in (old, ended_now):
            with pytest.raises(ExecutionNotFound):
                await store.launch(gone)
        assert await store.launch(kept) == b"x"

    async def test_old_launches_that_never_began_are_lost_and_others_stay(self, store: ExecutionStore) -> None:
        lost, running = new_fid(), await begun(store)
        await store.keep_launch(lost, OWNER, b"x" * 5_000_000)
        await store.keep_launch(running, OWNER, b"x")
        assert await store.drop_lost_launches(time.time() - 60) == 0
        assert await store.launch(lost)
        assert await store.drop_lost_launches(time.time() + 60) == 1
        assert await store.drop_lost_launches(time.time() + 60) == 0
        with pytest.raises(ExecutionNotFound):
            await store.launch(lost)
        assert await store.launch(running) == b"x"

    # notices ---------------------------------------------------------------------------------------------------------

    @pytest.fixture
    async def noting(self, make: MakeStore) -> AsyncIterator[ExecutionStore]:
        """An empty store that notes what somebody outside is to be told of."""
        store = make(notices=True)
        yield store
        await store.close()

    async def test_new_locks_and_the_end_are_noted_and_nothing_else(self, noting: ExecutionStore) -> None:
        fid = await begun(noting, text("x"), LOCK, RUNNING)
        await noting.append(fid, OWNER, [batch(2, event(EventKind.LEASE, '{"dict": {"lid": "a"}}'), LOCK)])
        await noting.append(fid, OWNER, [batch(3, text("finished"), FINISHED, LOCK)])
        failed = await begun(noting, event(EventKind.ERROR, "boom"), FAILED)

        assert await noting.waiting_notices() == 4
        found = sorted(await noting.notices(10, 60))
        assert [(notice.fid, notice.seq, notice.kind) for notice in found] == [
            (fid, 3, "lock"),
            (fid, 6, "lock"),
            (fid, 8, "finished"),
            (failed, 3, "error"),
        ]
        assert found[0].id == f"{fid}-3" and found[0].tries == 1 and found[0].trying_s < 30

    async def test_what_is_delivered_again_is_noted_once(self, noting: ExecutionStore) -> None:
        fid = await begun(noting, LOCK)
        await noting.append(fid, OWNER, [batch(1, STARTING, LOCK)])
        assert await noting.waiting_notices() == 1
        (notice,) = await noting.notices(10, 60)
        await noting.settle_notice(notice)
        await noting.append(fid, OWNER, [batch(1, STARTING, LOCK), batch(2, text("x"))])
        await noting.archive(fid)
        assert await noting.waiting_notices() == 0

    async def test_many_events_at_once_are_noted_too(self, noting: ExecutionStore) -> None:
        fid = await begun(noting, *(LOCK if number % 50 == 0 else text("x") for number in range(2, 302)))
        assert [notice.seq for notice in sorted(await noting.notices(10, 60))] == [50, 100, 150, 200, 250, 300]
        assert (await noting.execution(fid)).seq == 301

    async def test_a_claimed_notice_is_given_to_nobody_else_until_its_lease_is_over(
        self, noting: ExecutionStore
    ) -> None:
        for _ in range(12):
            await begun(noting, LOCK)
        claims = await asyncio.gather(*(noting.notices(5, 60) for _ in range(4)))
        claimed = [notice.id for claim in claims for notice in claim]
        claimed += [notice.id for notice in await noting.notices(20, 60)]
        assert len(claimed) == len(set(claimed)) == 12
        assert await noting.notices(5, 60) == []
        assert await noting.waiting_notices() == 12

    async def test_whoever_claims_and_dies_leaves_the_notice_to_others(self, noting: ExecutionStore) -> None:
        await begun(noting, LOCK)
        (first,) = await noting.notices(5, 0.0)
        (second,) = await until(lambda: noting.notices(5, 60))
        assert (second.id, first.tries, second.tries) == (first.id, 1, 2)
        assert second.trying_s > 0

    async def test_a_deferred_notice_comes_back_and_a_settled_one_never(self, noting: ExecutionStore) -> None:
        await begun(noting, LOCK, LOCK)
        soon, later = await noting.notices(5, 60)
        await noting.defer_notice(soon, 0.0)
        await noting.defer_notice(later, 60.0)
        (again,) = await until(lambda: noting.notices(5, 60))
        assert again.id == soon.id

        await noting.settle_notice(again)
        await noting.settle_notice(again)
        await noting.defer_notice(again, 0.0)
        assert await noting.notices(5, 60) == [] and await noting.waiting_notices() == 1

    async def test_the_notices_of_a_purged_execution_go_with_it(self, noting: ExecutionStore) -> None:
        fid, kept = await ended(noting, LOCK), await begun(noting, LOCK)
        await noting.purge(fid)
        (notice,) = await noting.notices(5, 60)
        assert notice.fid == kept
        await noting.settle_notice(Notice(fid, 2, notice.kind, 1, 0.0))
        with pytest.raises(ExecutionNotFound):
            await noting.execution(fid)

    async def test_a_store_that_was_not_told_to_notes_nothing(self, store: ExecutionStore) -> None:
        await ended(store, LOCK)
        assert await store.waiting_notices() == 0 and await store.notices(5, 60) == []
        assert await store.notices(0, 60) == []

    # the whole -------------------------------------------------------------------------------------------------------

    async def test_an_empty_store_reads_as_empty_and_can_be_checked(self, store: ExecutionStore) -> None:
        assert await store.executions() == [] and await store.executions(query="prime") == []
        assert await store.live() == [] and await store.changes(0.0) == [] and await store.archived(time.time()) == []
        assert await store.count() == 0
        await store.check()

    async def test_closing_twice_is_fine(self, store: ExecutionStore) -> None:
        await begun(store)
        await store.close()
        await store.close()
