"""A runner actor on a real cluster."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import ray

from kodosumi.cluster import NAMESPACE
from kodosumi.events import Event, new_fid
from kodosumi.runner.main import RunOutcome
from kodosumi.runner.spec import AppEnvironment, RunSpec
from kodosumi.transport import ProducerTicket
from tests.integration.runner.collector import KNOWN, ROOT, CollectingRunner, Collector, Known


class Actor:
    """One runner process, and what its runs have put."""

    def __init__(self, folder: Path, collector: Any, collector_name: str) -> None:
        self.folder = folder
        shutil.copy(Path(__file__).with_name("service_source.py"), folder / "actor_service.py")
        self.environment = AppEnvironment("test", python_path=(str(folder), ROOT), working_dir=str(folder))
        self._collector = collector
        self._options = {"name": collector_name, "known": Known()}
        name = f"collecting-{uuid.uuid4().hex}"
        self.handle = (
            ray.remote(CollectingRunner)
            .options(name=name, namespace=NAMESPACE, num_cpus=0, max_concurrency=64, runtime_env=KNOWN)
            .remote(self.environment, name)
        )

    def change(self, name: str) -> None:
        """Changes a source file in the actor's folder."""
        with (self.folder / name).open("a") as file:
            file.write("\nchanged = True\n")

    def begin(self, entry_point: str | Callable[..., Any], inputs: Any = None, **changes: Any) -> tuple[str, Any]:
        """Starts a run: its id, and the outcome to await; ``changes`` are fields of the spec."""
        ticket = ProducerTicket(new_fid(), "tester", "collector", self._options, max_event_bytes=1_000_000)
        portable = entry_point if isinstance(entry_point, str) else cloudpickle.dumps(entry_point)
        spec = RunSpec(ticket.fid, "tester", self.environment, portable, cloudpickle.dumps(inputs), "{}", "{}")
        return ticket.fid, self.handle.run.remote(replace(spec, **changes), ticket)

    async def serve(
        self, entry_point: str | Callable[..., Any], inputs: Any = None
    ) -> tuple[list[tuple[str, str]], RunOutcome]:
        """Runs to the end: its events, and the outcome."""
        fid, outcome = self.begin(entry_point, inputs)
        ended = await outcome
        return [(str(event.kind), event.payload) for event in await self.events(fid)], ended

    async def events(self, fid: str) -> list[Event]:
        """What a run has put so far."""
        found: list[Event] = await self._collector.events.remote(fid)
        return found

    async def payloads(self, fid: str, kind: str) -> list[str]:
        """The payloads of one kind."""
        return [event.payload for event in await self.events(fid) if event.kind == kind]


@pytest.fixture(scope="session")
def collector_name(ray_cluster: str) -> Iterator[str]:
    name = f"collector-{uuid.uuid4().hex}"
    actor = ray.remote(Collector).options(name=name, namespace="collector", num_cpus=0, runtime_env=KNOWN).remote()
    yield name
    ray.kill(actor)


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory, collector_name: str) -> Iterator[Actor]:
    """A process that serves one test's runs after the other's, as the pool lets it."""
    yield from _made(tmp_path_factory.mktemp("shared"), collector_name)


@pytest.fixture
def own_actor(tmp_path: Path, collector_name: str) -> Iterator[Actor]:
    """A process for a test that makes it unfit for others."""
    yield from _made(tmp_path, collector_name)


def _made(folder: Path, collector_name: str) -> Iterator[Actor]:
    made = Actor(folder, ray.get_actor(collector_name, namespace="collector"), collector_name)
    assert ray.get(made.handle.ready.remote())
    yield made
    ray.kill(made.handle)
