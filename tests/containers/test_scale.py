"""More than one of a service: three spoolers that share the runs, two panels behind one address; and one dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.faults.plant import wait_for
from tests.acceptance.people import answer, open_locks
from tests.containers.project import Project
from tests.containers.visitor import DEADLINE_S, Visitor

SERVICES, TASKS, GREETINGS = 6, 12, 12
CONSUMERS = "kodo:events:{spooler}:consumers"
ASK = """
import json, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:3370/role/me", headers={"KODOSUMI_API_KEY": sys.argv[1]})
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


@pytest.fixture
def three_spoolers(project: Project) -> Iterator[Project]:
    """The stack while three spoolers share its runs."""
    project.up("--scale", "spooler=3", "--no-recreate")
    wait_for(lambda: project.redis("ZCARD", CONSUMERS), lambda said: said == ["3"], DEADLINE_S)
    yield project
    project.up("--scale", "spooler=1", "--no-recreate")


@pytest.fixture
def two_panels(project: Project) -> Iterator[Project]:
    """The stack while two panels serve."""
    project.up("--scale", "panel=2", "--no-recreate")
    yield project
    project.up("--scale", "panel=1", "--no-recreate")


def test_three_spoolers_store_many_runs_once_and_in_order_and_one_is_killed_meanwhile(
    three_spoolers: Project, admin: Visitor
) -> None:
    asked = [("My service", {"tasks": str(TASKS)})] * SERVICES + [("Hello", {"name": "Ada"})] * GREETINGS
    urls = {summary: admin.flow(summary) for summary, _ in asked}

    with ThreadPoolExecutor(6) as threads:
        fids = list(threads.map(lambda one: admin.start(urls[one[0]], **one[1]), asked))
    wait_for(lambda: admin.stored(fids[0]), lambda rows: any(row.kind == "debug" for row in rows), DEADLINE_S)
    killed = three_spoolers.crash("spooler", 2)

    assert [admin.ended(fid) for fid in fids] == ["finished"] * len(fids)
    for fid in fids[:SERVICES]:
        events = admin.story(fid)
        tasks = [int(event.payload.split()[1]) for event in events if event.kind == "debug"]
        assert sorted(tasks) == list(range(TASKS))
        done = [int(line.split()[0]) for line in admin.printed(fid)]
        assert done == sorted(set(done))
    for fid in fids[SERVICES:]:
        assert admin.printed(fid) == [f"thinking, step {number}" for number in (1, 2, 3)]
        assert admin.result(fid) == "greeted Ada"
    # The engine brought it back, and it takes part again.
    back = wait_for(lambda: three_spoolers.container(killed), lambda one: one["State"]["Running"], DEADLINE_S)
    assert back["RestartCount"] == 1
    wait_for(lambda: three_spoolers.redis("ZCARD", CONSUMERS), lambda said: said == ["3"], DEADLINE_S)


def test_a_login_on_one_panel_holds_on_the_other(two_panels: Project, admin: Visitor) -> None:
    roles = [json.loads(two_panels.exec("panel", "python", "-c", ASK, admin.key, index=index)) for index in (1, 2)]

    assert [role["name"] for role in roles] == ["admin", "admin"]
    answers = [admin.client.get("/role/me").status_code for _ in range(20)]
    assert answers == [200] * 20


def test_whoever_follows_a_run_reads_the_same_at_either_panel_while_it_works(
    two_panels: Project, admin: Visitor
) -> None:
    fid = admin.launch("Approval", purpose="A table", amount=120, patience=600)
    (lid,) = open_locks(admin.client, fid)

    with ThreadPoolExecutor(6) as threads:
        reading = [threads.submit(Visitor(two_panels).story, fid) for _ in range(6)]
        assert answer(admin.client, fid, lid, limit=120, note="").status_code == 200
        stories = [one.result(DEADLINE_S) for one in reading]

    assert stories[0][-1].payload == "finished"
    assert stories == [stories[0]] * 6


def test_who_follows_a_run_at_a_panel_that_dies_goes_on_at_the_other(two_panels: Project, admin: Visitor) -> None:
    fid = admin.launch("Approval", purpose="A lamp", amount=120, patience=600)
    open_locks(admin.client, fid)
    read = admin.read_until(fid, "lock")

    two_panels.crash("panel", 1)

    # At once, while it isn't back: no request may depend on which panel the proxy asked first.
    assert admin.client.get("/role/me").status_code == 200
    (lid,) = open_locks(admin.client, fid)
    assert answer(admin.client, fid, lid, limit=120, note="").status_code == 200
    with admin.following(fid, after=read[-1].seq) as live:
        rest = list(live)
    assert [*read, *rest[:-1]] == admin.story(fid)
