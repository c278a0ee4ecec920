"""The stack with the profile ``temporal``, switched on where runs were direct before: they survive what they lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.faults.plant import wait_for
from tests.acceptance.people import answer, open_locks
from tests.containers.project import Project, service_of
from tests.containers.visitor import DEADLINE_S, Visitor
from tests.sse import Message


@pytest.fixture(scope="module")
def durable(project: Project) -> Iterator[Project]:
    """The stack in mode ``temporal``."""
    project.set(COMPOSE_PROFILES="temporal", KODO_EXECUTION_MODE="temporal")
    project.up()
    yield project


@pytest.fixture
def admin(durable: Project) -> Visitor:
    """The first operator, of the stack in that mode."""
    return Visitor(durable)


def test_every_part_is_well_and_only_its_pages_are_published_besides(durable: Project, admin: Visitor) -> None:
    health = admin.client.get("/health").raise_for_status().json()
    assert health["reasons"] == []
    assert health["parts"]["temporal"]["state"] == "ok"

    published = {
        (service_of(container), one["HostIp"], one["HostPort"])
        for container in durable.containers()
        for ports in container["NetworkSettings"]["Ports"].values()
        for one in ports or ()
    }
    assert published == {
        ("proxy", "127.0.0.1", str(durable.port)),
        ("temporal", "127.0.0.1", str(durable.temporal_port)),
    }


def test_a_worker_killed_in_mid_run_costs_nothing(durable: Project, admin: Visitor) -> None:
    fid = paid_job(admin)

    killed = durable.crash("worker")
    back = wait_for(lambda: durable.container(killed), lambda one: one["State"]["Running"], DEADLINE_S)
    assert back["RestartCount"] == 1
    answer_direction(admin, fid)

    assert admin.result(fid) == {"attempts": 1, "direction": "at length", "paid": 40}
    check_paid_and_asked_once(admin.story(fid))


def test_a_run_that_the_stack_was_stopped_in_goes_on_to_its_result(durable: Project, admin: Visitor) -> None:
    fid = paid_job(admin)
    read = admin.read_until(fid, "lock")

    durable.compose("stop")
    exits = {service_of(container): container["State"]["ExitCode"] for container in durable.containers()}
    durable.up()
    admin = Visitor(durable)
    answer_direction(admin, fid)

    assert admin.result(fid) == {"attempts": 2, "direction": "at length", "paid": 40}
    story = admin.story(fid)
    assert story[: len(read)] == read
    check_paid_and_asked_once(story)
    assert 137 not in exits.values(), exits


def paid_job(admin: Visitor) -> str:
    """A run of ``durable`` that has paid once and waits for an answer."""
    fid = admin.launch("Paid job", subject="Rivers", seconds=0.1, patience=3600, trouble=False)
    open_locks(admin.client, fid)
    return fid


def answer_direction(admin: Visitor, fid: str) -> None:
    """Answers its question, once there is somebody who takes the answer."""
    (lid,) = open_locks(admin.client, fid)
    wait_for(lambda: answer(admin.client, fid, lid, direction="at length").status_code, lambda code: code == 200)


def check_paid_and_asked_once(events: list[Message]) -> None:
    """Whether each order was charged once, and one question asked, over all attempts."""
    orders = [json.loads(event.payload)["dict"] for event in events if event.kind == "action"]
    assert [order["step"] for order in orders if order["charged"]] == ["research", "article"]
    assert [event.kind for event in events].count("lock") == 1
    assert [event.kind for event in events].count("final") == 1
