"""Durable runs on servers of their own that a test may kill, and what must be true of such a run in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from tests.acceptance.faults.agents import QUESTION_AT, STEPS
from tests.acceptance.faults.plant import DEADLINE_S, Plant, numbers, texts, wait_for
from tests.acceptance.people import answer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.temporal import TemporalServer
from tests.sse import Message

ENDED = ("finished", "error")


class Note(NamedTuple):
    """What user code wrote down when it was called."""

    attempt: int
    pid: int


class Works:
    """A plant in mode ``temporal`` with Redis, PostgreSQL and Temporal, which keep what they have when they're killed.

    Args:
        folder: of the plant. ray_server: as :class:`Plant` takes it. environment: further variables.
    """

    def __init__(self, folder: Path, ray_server: str | None, environment: Mapping[str, str] | None = None) -> None:
        self.redis = RedisServer(appendonly="yes", appendfsync="always")
        self.postgres = PostgresServer()
        self.temporal = TemporalServer(lasting=True)
        self._folder, self._ray_server, self._environment = folder, ray_server, environment

    def __enter__(self) -> Works:
        for server in (self.redis, self.postgres, self.temporal):
            server.start()
        self.database = self.postgres.create_database()
        url = self.postgres.url(self.database)
        self.plant = Plant(
            self._folder,
            self._ray_server,
            self._environment,
            execution_mode="temporal",
            temporal_host=self.temporal.address,
            event_transport="redis",
            redis_url=self.redis.url(),
            execution_database=url,
            admin_database=url,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.plant.stop()
        for server in (self.redis, self.postgres, self.temporal):
            server.remove()

    def start(self) -> None:
        """Starts what doesn't run, and returns when all is well."""
        if not self.temporal.alive:
            self.temporal.start()
        self.plant.start()

    def workflow(self, fid: str) -> str:
        """The state of a run's workflow, as Temporal's own command line says it."""
        state: str = self._described(fid)["workflowExecutionInfo"]["status"]
        return state.removeprefix("WORKFLOW_EXECUTION_STATUS_").lower()

    def until_workflow(self, fid: str, state: str) -> None:
        """Returns when a run's workflow is in a state."""
        wait_for(lambda: self.workflow(fid), lambda found: found == state)

    def working(self, fid: str) -> bool:
        """Whether a worker has taken on what the run's workflow wants done."""
        pending = self._described(fid).get("pendingActivities", [])
        return any(activity["state"].endswith("_STARTED") for activity in pending)

    def _described(self, fid: str) -> dict[str, Any]:
        said = self.temporal.cli("workflow", "describe", "--workflow-id", f"kodo-{fid}", "-o", "json")
        described: dict[str, Any] = json.loads(said)
        return described


def notes(path: Path) -> list[Note]:
    """The whole lines of a file of notes; none while it isn't there."""
    if not path.exists():
        return []
    return [Note(*map(int, line.split())) for line in path.read_text().splitlines()]


def dripping(works: Works, path: Path, gate: Path) -> str:
    """A run that has told a few numbers, and tells more until the gate is there; it notes its calls."""
    fid = works.plant.launch("noted_drip", notes=str(path), gate=str(gate))
    works.plant.stored(fid, "result", 10)
    return fid


def stepping(works: Works, path: Path) -> str:
    """A run of a thousand steps that has made a few of them; it notes its calls."""
    fid = works.plant.launch("steps", notes=str(path))
    works.plant.stored(fid, "result", 100)
    return fid


def kill_runner(path: Path) -> None:
    """Kills the process of the attempt that has noted itself last, once one has."""
    pid = wait_for(lambda: notes(path))[-1].pid
    # It may have ended by itself, with its run.
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        with suppress(psutil.TimeoutExpired):
            process.wait(10)


def answer_when_open(plant: Plant, fid: str, text: str) -> None:
    """Answers a run's lock through the API as soon as it's open, whatever is away meanwhile."""

    def answered() -> bool:
        status = plant.client.get(f"/outputs/status/{fid}?extended=true").raise_for_status().json()
        for lid in status["locks"]:
            response: httpx.Response = answer(plant.client, fid, lid, answer=text)
            # An answer that was taken when the connection broke: the second one is told so.
            if response.status_code in (200, 409):
                return True
        return status["status"] in ENDED

    wait_for(answered)


def ended(plant: Plant, fid: str) -> list[Message]:
    """All that a client reads of a run, once it has ended; checked: places without gap, one end."""
    wait_for(lambda: plant.status(fid), lambda status: status in ENDED, DEADLINE_S)
    return plant.stream(fid)


def attempts_shown(events: list[Message]) -> list[int]:
    """The numbers of the attempts as a client sees them."""
    return [1, *(json.loads(told)["dict"]["number"] for told in texts(events, "attempt"))]


def by_attempt(events: list[Message]) -> list[list[Message]]:
    """What each attempt told."""
    parts: list[list[Message]] = [[]]
    for event in events:
        if event.kind == "attempt":
            parts.append([])
        parts[-1].append(event)
    return parts


def dripped(events: list[Message]) -> bool:
    """Whether a run's last attempt told all, one after the other, and says so."""
    told = numbers(by_attempt(events)[-1])
    return told == list(range(len(told))) and texts(events, "final") == [f'{{"int": {len(told)}}}']


def check_goes_on_to_its_end(works: Works, fid: str, gate: Path) -> None:
    """A run that drips tells more from now on, and ends in its first attempt once the gate is there."""
    before = works.plant.reached(fid)
    wait_for(lambda: works.plant.reached(fid), lambda seq: seq > before + 100)
    gate.touch()

    events = ended(works.plant, fid)
    assert dripped(events)
    assert attempts_shown(events) == [1]
    works.until_workflow(fid, "completed")


def ended_when_called_again(plant: Plant, fid: str, path: Path, gate: Path) -> list[Message]:
    """All of a run that drips, to whose second call the gate is opened; checked: that call told all."""
    wait_for(lambda: len(notes(path)), lambda called: called == 2)
    gate.touch()

    events = ended(plant, fid)
    assert dripped(events)
    return events


def check_steps(events: list[Message], noted: list[Note], text: str) -> None:
    """A run of the agent ``steps`` that came through: one whole story, and as many effects as attempts.

    Args:
        events: as a client read them. noted: by user code. text: that the lock was answered with.
    """
    assert texts(events, "status")[-1] == "finished", events[-3:]
    assert [note.attempt for note in noted] == attempts_shown(events)
    *lost, last = (numbers(part) for part in by_attempt(events))
    assert last == list(range(STEPS))
    assert all(told == list(range(len(told))) for told in lost)
    assert len(texts(events, "lock")) == len(texts(events, "lease")) == 1
    assert json.loads(texts(events, "final")[0]) == {"dict": {"to": QUESTION_AT, "answer": text}}
