"""What became of a producer's batches when their queue died: lost only when nobody has them."""

from __future__ import annotations

import asyncio

import pytest

from kodosumi.events import Position
from kodosumi.transport import recollection
from kodosumi.transport.recollection import Memory, Recollection, Verdict

LAST = Position(1, 7)


@pytest.fixture(autouse=True)
def short_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recollection, "RECALL_S", 0.05)


def remembering(acked: Position | None = None, held: Position | None = None, seq: int = 3) -> Memory:
    memory = Memory()
    if held is not None:
        memory.taken("f", held, "p", seq)
    if acked is not None:
        memory.acked("f", acked)
    return memory


async def verdict(
    past: Recollection, seq: int = 4, last: Position | None = LAST, shared: bool = False, wait_s: float = 0.2
) -> Verdict:
    return await past.verdict("f", "p", seq, last, shared, wait_s)


async def test_what_was_committed_is_kept() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", remembering(acked=LAST).traces)

    assert await verdict(past) is Verdict.KEPT


async def test_what_nobody_tells_of_is_lost() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", {})

    assert await verdict(past) is Verdict.LOST


async def test_what_was_committed_only_in_part_is_lost() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", remembering(acked=Position(1, 6)).traces)

    assert await verdict(past) is Verdict.LOST


async def test_what_a_living_consumer_holds_is_waited_for_and_kept() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", remembering(held=LAST).traces)
    waiting = asyncio.create_task(verdict(past, wait_s=60.0))
    assert await past.verdict("f", "p", 4, LAST, False, 0.2) is Verdict.UNDECIDED

    past.acked("f", LAST)

    assert await waiting is Verdict.KEPT


async def test_what_a_consumer_held_that_dies_is_lost() -> None:
    living = {"c"}
    past = Recollection(living.__contains__)
    past.tell("c", remembering(held=LAST).traces)
    waiting = asyncio.create_task(verdict(past, wait_s=60.0))
    await asyncio.sleep(0)

    living.clear()
    past.stir()

    assert await waiting is Verdict.LOST


async def test_a_batch_that_was_committed_without_an_answer_is_not_taken_again() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", remembering(acked=LAST, held=LAST, seq=4).traces)

    assert await verdict(past, last=Position(1, 6)) is Verdict.TAKEN
    assert await verdict(past, last=None) is Verdict.TAKEN


async def test_a_first_batch_is_taken_as_soon_as_a_consumer_has_told() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", {})

    assert await verdict(past, last=None) is Verdict.KEPT


async def test_the_latest_attempt_is_known_whoever_tells_of_it_and_in_whatever_order() -> None:
    past = Recollection(lambda _: True)
    assert past.attempt("f") == 0
    late, early = Memory(), Memory()
    late.taken("f", Position(1, 5), "p", 1, 2)
    late.taken("f", Position(1, 6), "p", 2)
    early.taken("f", Position(1, 9), "q", 1, 1)

    past.tell("a", late.traces)
    past.tell("b", early.traces)
    past.acked("f", Position(1, 9))

    assert past.attempt("f") == 2


async def test_others_may_have_put_more_than_anyone_can_tell_of() -> None:
    past = Recollection(lambda _: True)
    past.tell("c", remembering(acked=LAST).traces)

    assert await verdict(past, shared=True) is Verdict.LOST


def test_a_consumers_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recollection, "MAX_EXECUTIONS", 10)
    monkeypatch.setattr(recollection, "MAX_PRODUCERS", 5)
    memory = Memory()
    for number in range(50):
        memory.taken(f"f{number}", Position(1, number), "p", 1)
        memory.taken("f49", Position(1, number), f"p{number}", 1)

    assert len(memory.traces) == 10
    assert len(memory.traces["f49"].producers) == 5
