"""The stack is stopped, or taken down, and started again: what was there is there, and every run has its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import httpx
import pytest

from tests.acceptance.faults.plant import wait_for
from tests.acceptance.people import answer, new_role, open_locks, uploaded
from tests.containers.project import Project, service_of
from tests.containers.visitor import DEADLINE_S, Visitor
from tests.sse import Message

TASKS = 200
KILLED = 137
"""Exit code of what SIGTERM didn't end."""


class Stopped(NamedTuple):
    """A stack that was stopped in mid-run and is up again.

    Attributes:
        states: of its containers while it was stopped.
        telling: a run that told much until then, and may have come to its end before Ray was stopped.
        working, waiting: runs that had hours to go. read: what a client had read of each before.
    """

    states: dict[str, dict[str, Any]]
    telling: str
    working: str
    waiting: str
    read: dict[str, list[Message]]


@pytest.fixture(scope="module")
def stopped(project: Project) -> Iterator[Stopped]:
    """Stopped by ``docker compose stop`` while two runs work and one waits for an answer, and started."""
    admin = Visitor(project)
    telling = admin.launch("My service", tasks=str(TASKS))
    working = admin.launch("Paid job", subject="Rivers", seconds=36000, patience=600, trouble=False)
    waiting = admin.launch("Approval", purpose="A shelf", amount=120, patience=36000)
    reached = {telling: "debug", working: "stdout", waiting: "lock"}
    read = {fid: admin.read_until(fid, kind) for fid, kind in reached.items()}
    project.compose("stop")
    states = {service_of(container): container["State"] for container in project.containers()}
    project.up()
    yield Stopped(states, telling, working, waiting, read)


def test_no_part_had_to_be_killed(stopped: Stopped) -> None:
    assert {name: state["ExitCode"] for name, state in stopped.states.items() if state["ExitCode"] == KILLED} == {}
    assert [name for name, state in stopped.states.items() if state["Running"] or state["OOMKilled"]] == []


def test_a_run_that_the_stack_was_stopped_in_has_one_end_that_says_why(stopped: Stopped, admin: Visitor) -> None:
    for fid in (stopped.working, stopped.waiting):
        assert admin.ended(fid) == "error"
        (reason,) = (event.payload for event in admin.story(fid) if event.kind == "error")
        assert reason


def test_nothing_that_was_told_before_the_stop_is_lost(stopped: Stopped, admin: Visitor) -> None:
    for fid, read in stopped.read.items():
        admin.ended(fid)
        assert admin.story(fid)[: len(read)] == read
    told = [int(event.payload.split()[1]) for event in admin.story(stopped.telling) if event.kind == "debug"]
    assert len(told) == len(set(told))
    if admin.ended(stopped.telling) == "finished":
        assert sorted(told) == list(range(TASKS))


def test_a_new_run_works_after_the_stop(stopped: Stopped, admin: Visitor) -> None:
    assert admin.result(admin.launch("Hello", name="Ada")) == "greeted Ada"


def test_runs_users_and_files_are_there_after_down_and_up(project: Project, admin: Visitor) -> None:
    fid = admin.launch("Documents", documents=uploaded(admin.client, {"a.txt": b"a b"}, "documents"), text="")
    assert admin.result(fid)["a.txt"]["words"] == 2
    before = admin.story(fid)
    with closing(new_role(admin.client, "ada")) as ada:
        cookies = dict(ada.cookies)

    project.down()
    assert project.containers() == []
    project.up()

    again = Visitor(project)
    assert again.story(fid) == before
    assert again.client.get(f"/files/{fid}/in/a.txt").content == b"a b"
    report = again.client.get(f"/files/{fid}/out/a.txt.report.txt").raise_for_status()
    assert "words: 2" in report.text
    # She is still logged in, too.
    with httpx.Client(base_url=project.url, cookies=cookies, timeout=60) as ada:
        assert ada.get("/role/me").raise_for_status().json()["name"] == "ada"
    her = Visitor(project, "ada", "a good password")
    assert her.result(her.launch("Hello", name="Ada")) == "greeted Ada"


def test_a_ray_that_crashes_ends_its_runs_and_serves_new_ones_when_it_is_back(project: Project, admin: Visitor) -> None:
    waiting = admin.launch("Approval", purpose="A stool", amount=120, patience=3600)
    read = admin.read_until(waiting, "lock")

    project.crash("ray")

    assert admin.ended(waiting) == "error"
    assert admin.story(waiting)[: len(read)] == read
    url = admin.flow("Hello")
    fid = wait_for(lambda: admin.start(url, name="Ada"), bool, DEADLINE_S)
    assert admin.result(fid) == "greeted Ada"


def test_all_that_is_stopped_by_one_kill_comes_back_whole(project: Project, admin: Visitor) -> None:
    """As after a power cut, but for what the machine had not written yet."""
    waiting = admin.launch("Approval", purpose="A bed", amount=120, patience=3600)
    finished = admin.launch("Hello", name="Grace")
    read = admin.read_until(waiting, "lock")

    project.compose("kill")
    project.up()

    again = Visitor(project)
    assert again.ended(waiting) == "error"
    assert again.story(waiting)[: len(read)] == read
    assert again.ended(finished) in ("finished", "error")
    again.story(finished)
    (lid,) = open_locks(again.client, fid := again.launch("Approval", purpose="A rug", amount=1, patience=600))
    assert answer(again.client, fid, lid, limit=1, note="").status_code == 200
    assert again.result(fid)["bought"] is True
