"""Runs wait in order for one user, in turn between users."""

from __future__ import annotations

import itertools
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from kodosumi.runner.fair_queue import FairQueue


def served(queue: FairQueue[str]) -> list[str]:
    order = []
    while len(queue):
        item = next(iter(queue))
        queue.take(item.partition("-")[0], item)
        order.append(item)
    return order


def filled(*items: str) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.add(item.partition("-")[0], item)
    return queue


def test_one_users_runs_are_served_in_order_of_arrival() -> None:
    assert served(filled("a-1", "a-2", "a-3")) == ["a-1", "a-2", "a-3"]


def test_a_second_user_does_not_wait_behind_the_first_users_hundred() -> None:
    queue = filled(*(f"a-{n}" for n in range(100)), "b-0")

    assert served(queue)[:3] == ["a-0", "b-0", "a-1"]


def test_a_run_that_could_not_be_served_is_first_again() -> None:
    queue = filled("a-1", "b-1")
    queue.take("a", "a-1")

    queue.put_back("a", "a-1")

    assert served(queue) == ["a-1", "b-1"]


def test_removing_an_absent_run_changes_nothing() -> None:
    queue = filled("a-1")

    queue.remove("a", "a-9")
    queue.remove("b", "b-1")

    assert list(queue) == ["a-1"]


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_everyone_is_served_once_in_their_own_order_and_never_twice_running_while_others_wait(users: list[str]) -> None:
    numbers: dict[str, int] = defaultdict(int)
    queue: FairQueue[str] = FairQueue()
    items = []
    for user in users:
        items.append(f"{user}-{numbers[user]:03}")
        numbers[user] += 1
        queue.add(user, items[-1])
    foretold = list(queue)

    order = served(queue)

    assert sorted(order) == sorted(items)
    assert order == foretold
    for user in numbers:
        own = [item for item in order if item.startswith(user)]
        assert own == sorted(own)
    for position, (first, second) in enumerate(itertools.pairwise(order)):
        if first[0] == second[0]:
            assert {item[0] for item in order[position:]} == {first[0]}
