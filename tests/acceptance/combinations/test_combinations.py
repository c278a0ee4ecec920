"""Whatever carries and keeps the events, users see the same: one suite for all combinations."""

from __future__ import annotations

import json
import re
import threading
import uuid
from pathlib import Path

import httpx
import pytest

from tests.acceptance.faults.plant import Plant, numbers, texts, wait_for
from tests.sse import Message

RUNS = {
    "everything": {"word": "spirit"},
    "count": {"n": 2_000},
    "fails": {"word": "luck"},
    "unknown": {},
    "flaky": {"succeeds": 3, "place": "again"},
    "flaky to the end": {"succeeds": 9, "place": "again"},
    "flaky once": {"succeeds": 2},
}
"""Agents and their inputs; each must tell the same story everywhere."""

_told: dict[str, list[tuple[int, str, str]]] = {}
"""The story of each agent as the first combination told it."""


def story(plant: Plant, fid: str, events: list[Message]) -> list[tuple[int, str, str]]:
    """What a client read, without what differs between two runs of one combination."""

    def steady(payload: str) -> str:
        payload = payload.replace(fid, "FID").replace(plant.url, "PANEL").replace(str(plant.app_port), "PORT")
        return re.sub(r'"(username|launched_at|startup)": ?"?[^",}]+"?', r'"\1": ANY', payload)

    return [(event.seq, event.kind, steady(event.payload)) for event in events]


@pytest.mark.parametrize("agent", RUNS)
def test_a_run_tells_the_same_bytes_in_the_same_order(plant: Plant, agent: str) -> None:
    fid = plant.launch(agent.split()[0], **RUNS[agent])

    told = story(plant, fid, plant.stream(fid))

    assert told == _told.setdefault(agent, told)


def test_a_reader_that_comes_back_misses_nothing(plant: Plant) -> None:
    fid = plant.launch("count", n=500)
    events = plant.stream(fid)

    with plant.following(fid, after=100) as again:
        assert [event.seq for event in again][:-1] == [event.seq for event in events][100:]


def test_a_live_reader_sees_events_while_the_run_goes_on(plant: Plant, gate: Path) -> None:
    fid = plant.launch("drip", gate=str(gate))

    with plant.following(fid) as told:
        seen = [next(told) for _ in range(50)]
        gate.touch()
        events = [*seen, *told]

    assert numbers(events) == list(range(len(numbers(events))))
    assert texts(events, "final") == [f'{{"int": {len(numbers(events))}}}']


def test_a_deleted_run_is_cancelled_and_hidden(plant: Plant, gate: Path) -> None:
    fid = plant.launch("hold", gate=str(gate))
    with plant.following(fid) as told:
        first = next(told)
        assert plant.client.delete(f"/outputs/{fid}").status_code == 204
        events = [first, *told]

    assert texts(events, "error") == ["killed by admin"]
    assert plant.client.get("/timeline/list", params={"q": fid}).json()["items"] == []
    assert plant.client.get(f"/outputs/status/{fid}").status_code == 404


def test_the_timeline_finds_what_has_ended(plant: Plant) -> None:
    fid = plant.launch("count", n=1)
    plant.stream(fid)

    page = plant.client.get("/timeline/list", params={"pp": 5}).json()["items"]
    found = plant.client.get("/timeline/list", params={"q": fid}).json()["items"]

    assert page[0]["fid"] == fid
    assert [(item["fid"], item["status"]) for item in found] == [(fid, "finished")]


def test_a_run_is_called_again_for_what_its_author_named_and_for_nothing_else(plant: Plant) -> None:
    again = plant.stream(plant.launch("flaky", place="again", succeeds=3))
    never = plant.stream(plant.launch("fails", place="again", word="luck"))

    assert [json.loads(told)["dict"]["number"] for told in texts(again, "attempt")] == [2, 3]
    assert all("agents.Busy: busy in attempt" in told for told in texts(again, "attempt"))
    assert numbers(again) == [1, 2, 3]
    assert texts(again, "status") == ["starting", "running", "running", "running", "finished"]
    assert texts(again, "error") == []
    assert texts(never, "attempt") == []
    assert "ValueError: no luck" in texts(never, "error")[0]


def test_a_paused_run_tells_nothing_and_goes_on(plant: Plant, gate: Path) -> None:
    fid = plant.launch("drip", gate=str(gate))
    plant.stored(fid, "result", 10)

    assert plant.steer(fid, "pause") == "paused"
    assert plant.steer(fid, "pause") == "paused"
    # The answer waits for the store, though not for ever.
    wait_for(lambda: plant.status(fid), lambda status: status == "paused")
    gate.touch()
    assert plant.steer(fid, "resume") in ("running", "finished")

    events = plant.stream(fid)
    assert texts(events, "status") == ["starting", "running", "paused", "running", "finished"]
    paused = [event.payload for event in events].index("paused")
    assert events[paused + 1].payload == "running"
    assert numbers(events) == list(range(len(numbers(events))))


def test_a_cancelled_run_ends_in_the_name_of_who_asked(plant: Plant, gate: Path) -> None:
    fid = plant.launch("hold", place="again", gate=str(gate))
    plant.stored(fid, "debug")

    assert plant.steer(fid, "cancel") == "error"

    events = plant.stream(fid)
    assert texts(events, "error") == ["killed by admin"]
    assert texts(events, "attempt") == []


def test_launches_with_one_idempotency_key_are_one_run(plant: Plant) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    answers: list[httpx.Response] = []
    start = threading.Barrier(3)

    def post() -> None:
        start.wait()
        answers.append(plant.ask("count", headers=headers, n=3))

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.append(plant.ask("count", headers=headers, n=3))

    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    (fid,) = {answer.json()["result"] for answer in answers}
    events = plant.stream(fid)
    assert numbers(events) == [0, 1, 2]
    assert texts(events, "status") == ["starting", "running", "finished"]


def test_many_runs_at_once_all_end_with_all_they_told(plant: Plant) -> None:
    fids = [plant.launch("count", n=number) for number in range(20)]

    for number, fid in enumerate(fids):
        assert numbers(plant.stream(fid)) == list(range(number))
