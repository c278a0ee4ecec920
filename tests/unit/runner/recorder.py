"""A transport that only keeps what was put, and fails when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kodosumi.error import ExecutionClosed
from kodosumi.events import Event
from kodosumi.runner.entry import pickle_for_run
from kodosumi.runner.spec import AppEnvironment, RunSpec
from kodosumi.transport import TRANSPORTS, ProducerTicket

TRANSPORTS["recorder"] = "tests.unit.runner.recorder:RecorderTransport"

RECORDS: dict[str, Record] = {}


class Record:
    """What one execution put."""

    def __init__(self) -> None:
        self.puts: list[list[Event]] = []
        self.failures: list[Exception] = []
        self.blocked: bool = False
        self.producers = 0
        self.closed_producers = 0

    @property
    def events(self) -> list[Event]:
        return [event for put in self.puts for event in put]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(str(event.kind), event.payload) for event in self.events]

    def payloads(self, kind: str) -> list[str]:
        return [event.payload for event in self.events if event.kind == kind]


class RecorderProducer:
    def __init__(self, ticket: ProducerTicket) -> None:
        self.fid = ticket.fid
        self._ticket = ticket
        self.record = RECORDS.setdefault(ticket.fid, Record())
        self.record.producers += 1

    @property
    def ticket(self) -> ProducerTicket:
        return replace(self._ticket, epoch=1)

    async def put(self, events: Sequence[Event]) -> None:
        while self.record.blocked:
            await asyncio.sleep(0.01)
        if self.record.failures:
            raise self.record.failures.pop(0)
        if any(event.ends_execution for event in self.record.events):
            raise ExecutionClosed("closed", self.fid)
        self.record.puts.append(list(events))

    async def close(self) -> None:
        self.record.closed_producers += 1


class RecorderTransport:
    name = "recorder"

    @classmethod
    def from_options(cls, options: Any) -> RecorderTransport:
        return cls()

    def producer_from(self, ticket: ProducerTicket) -> RecorderProducer:
        return RecorderProducer(ticket)


def spec_of(fid: str, entry_point: Any, inputs: Any = None) -> RunSpec:
    portable = entry_point if isinstance(entry_point, str) else pickle_for_run(entry_point)
    return RunSpec(fid, "tester", AppEnvironment("test"), portable, pickle_for_run(inputs), "{}", "{}")
