"""The panel dies under a reader, a run blocks while its end is asked for, and many launches come at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.faults.plant import Plant, Row, check_story, numbers, texts, wait_for
from tests.sse import Message

pytestmark = pytest.mark.fault

LAUNCHES = 200
LIMITS = httpx.Limits(max_connections=LAUNCHES)


def read_until_broken(told: Iterator[Message], plant: Plant, kill_after: int) -> list[Message]:
    """What a reader gets of a stream whose panel is killed after so many messages."""
    events: list[Message] = []
    try:
        for event in told:
            events.append(event)
            if len(events) == kill_after:
                plant.panel.send(signal.SIGKILL)
    except httpx.TransportError:
        pass
    return events


def test_promise_4_a_reader_whose_panel_was_killed_goes_on_at_another_without_a_gap(plant: Plant, gate: Path) -> None:
    fid = plant.launch("drip", gate=str(gate))
    read: list[Message] = []
    for _ in range(2):
        with plant.following(fid, after=len(read)) as told:
            read += read_until_broken(told, plant, kill_after=50)
        assert not plant.panel.alive
        plant.panel.start()
        wait_for(lambda: plant.client.get("/health/live").status_code == 200)
    gate.touch()
    with plant.following(fid, after=len(read)) as told:
        read += told

    assert read.pop().kind == "eof"
    check_story([Row(event.seq, event.kind, event.payload) for event in read])
    assert texts(read, "final") == [f'{{"int": {len(numbers(read))}}}']


def test_a_run_that_blocks_its_loop_is_ended_by_a_deletion(plant: Plant) -> None:
    fid = plant.launch("block", seconds=120)
    plant.stored(fid, "debug")

    with plant.following(fid) as told:
        first = next(told)
        assert plant.client.delete(f"/outputs/{fid}").status_code == 204
        events = [first, *told]

    assert texts(events, "error") == ["killed by admin"]
    check_story([Row(event.seq, event.kind, event.payload) for event in events[:-1]])
    assert texts(events, "status")[-1] == "error"
    assert plant.client.get("/timeline/list", params={"q": fid}).json()["items"] == []


async def all_at_once(plant: Plant) -> list[httpx.Response]:
    """The answers to launches that nobody waits for before the next."""
    async with httpx.AsyncClient(
        base_url=plant.url, cookies=plant.client.cookies, timeout=120, limits=LIMITS
    ) as client:

        async def ask(number: int) -> httpx.Response:
            return await client.post(plant.form, json={"entry": "count", "inputs": f'{{"n": {number % 7}}}'})

        return await asyncio.gather(*map(ask, range(LAUNCHES)))


def test_two_hundred_launches_at_once_finish_or_are_refused_and_none_is_lost(plant: Plant) -> None:
    before = plant.client.get("/timeline", params={"pp": 1}).json()["total"]
    answers = asyncio.run(all_at_once(plant))

    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} <= {503}
    fids = {answer.json()["result"]: number % 7 for number, answer in enumerate(answers) if answer.status_code == 200}
    assert len(fids) == LAUNCHES - len(refused)
    for fid, told in fids.items():
        events = plant.stream(fid)
        assert texts(events, "final") == [f'{{"int": {told}}}'], texts(events, "error")
        assert numbers(events) == list(range(told))
    listed = plant.client.get("/timeline", params={"pp": 1}).json()["total"]
    assert listed == before + len(fids), "a refused launch leaves no execution behind"
    assert len(fids) > LAUNCHES / 2
