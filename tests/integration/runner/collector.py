"""A transport that is one Ray actor keeping what was put: what a runner's process needs, and nothing of the spooler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from kodosumi.error import ExecutionClosed
from kodosumi.events import Event
from kodosumi.runner.main import Runner
from kodosumi.transport import TRANSPORTS, ProducerTicket

ROOT = str(Path(__file__).parents[3])
KNOWN = {"env_vars": {"PYTHONPATH": ROOT}}
"""Runtime environment in which this module can be imported."""

TRANSPORTS["collector"] = "tests.integration.runner.collector:CollectorTransport"


class Collector:
    """The actor."""

    def __init__(self) -> None:
        self._events: dict[str, list[Event]] = {}

    def put(self, fid: str, events: list[Event]) -> bool:
        kept = self._events.setdefault(fid, [])
        if any(event.ends_execution for event in kept):
            return False
        kept.extend(events)
        return True

    def events(self, fid: str) -> list[Event]:
        return list(self._events.get(fid, []))


class CollectorProducer:
    def __init__(self, ticket: ProducerTicket) -> None:
        self.fid = ticket.fid
        self.ticket = ticket
        self._actor = ray.get_actor(ticket.options["name"], namespace="collector")

    async def put(self, events: Sequence[Event]) -> None:
        if not await self._actor.put.remote(self.fid, list(events)):
            raise ExecutionClosed("closed", self.fid)

    async def close(self) -> None:
        """Nothing is held."""


class CollectorTransport:
    name = "collector"

    @classmethod
    def from_options(cls, options: Any) -> CollectorTransport:
        return cls()

    def producer_from(self, ticket: ProducerTicket) -> CollectorProducer:
        return CollectorProducer(ticket)


class Known:
    """Makes this module, and so the transport, known wherever a ticket with it arrives."""

    def __repr__(self) -> str:
        return "Known()"


class CollectingRunner(Runner):
    """A runner in whose process this module, and so the transport, is known."""
