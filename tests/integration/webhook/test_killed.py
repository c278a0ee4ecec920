"""Spoolers die between commit and sending, or while they send: all are told that are to be, with the same ids."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kodosumi.config import Settings
from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.transport import connect_transport
from tests.conditions import until
from tests.integration.schema.processes import KOCO, Process, running
from tests.servers.receiver import Receiver
from tests.servers.redis import RedisServer
from tests.unit.store.histories import OWNER

LOCK = '{"dict": {"lid": "a", "name": "approve"}}'
KILLED = ("-m", "tests.integration.webhook.killed_spooler")
START_S = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Where executions are kept; None: in files."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def variables(receiver: Receiver, redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    """What a spooler of this test needs: no cluster, a transport that outlives it, a webhook."""
    return {
        "KODO_EVENT_TRANSPORT": "redis",
        "KODO_REDIS_URL": redis_server.url(),
        "KODO_REDIS_STREAM_PREFIX": f"{uuid4().hex}:",
        "KODO_EXECUTION_MODE": "memory",
        "KODO_EXEC_DIR": str(tmp_path / "execution"),
        "KODO_WEBHOOK_URL": receiver.url,
        "KODO_WEBHOOK_SECRET": "s",
    }


async def put(variables: dict[str, str], *events: Event) -> str:
    """Gives events of a new run to the transport."""
    options = {name.removeprefix("KODO_").lower(): value for name, value in variables.items()}
    transport = connect_transport(Settings(**options, _env_file=None))
    fid = new_fid()
    producer = transport.producer(fid, OWNER)
    await producer.put(list(events))
    await producer.close()
    await transport.close()
    return fid


def ended() -> list[Event]:
    """A run with one lock, from begin to end."""
    finished = Event.now(EventKind.STATUS, ExecutionState.FINISHED)
    return [Event.now(EventKind.STATUS, ExecutionState.RUNNING), Event.now(EventKind.LOCK, LOCK), finished]


async def killed(process: Process) -> None:
    assert await asyncio.to_thread(process.ended) == -signal.SIGKILL, process.lines


@pytest.mark.fault
async def test_what_was_committed_and_not_sent_by_a_killed_spooler_is_sent_by_the_next(
    receiver: Receiver, variables: dict[str, str], database: str | None, tmp_path: Path
) -> None:
    if database is not None:
        variables["KODO_EXECUTION_DATABASE"] = database
    fids = []
    for _ in range(2):
        fids.append(await put(variables, *ended()))
        with running(KILLED, tmp_path, variables) as process:
            await killed(process)
    assert receiver.deliveries == []
    with running([*KOCO, "spool", "--status"], tmp_path, variables) as status:
        assert await asyncio.to_thread(status.ended) in (0, 1)
        assert status.has_said("4 notices wait for the webhook"), status.lines

    expected = sorted(f"{fid}-{seq}" for fid in fids for seq in (2, 3))
    with running([*KOCO, "spool", "--block"], tmp_path, variables) as spooler:
        await until(lambda: sorted(set(receiver.ids())) == expected, deadline_s=START_S)
        spooler.send(signal.SIGTERM)
        assert await asyncio.to_thread(spooler.ended) == 0, spooler.lines
    assert sorted(receiver.ids()) == expected


@pytest.mark.fault
async def test_what_a_killed_spooler_was_sending_is_sent_again_with_the_same_id(
    receiver: Receiver, variables: dict[str, str], tmp_path: Path
) -> None:
    receiver.hanging = True
    fid = await put(variables, *ended())
    expected = {f"{fid}-2", f"{fid}-3"}
    with running([*KOCO, "spool", "--block"], tmp_path, variables) as spooler:
        await until(lambda: set(receiver.ids()) == expected, deadline_s=START_S)
        spooler.send(signal.SIGKILL)
        await killed(spooler)
    before = len(receiver.deliveries)
    receiver.resume()

    with running([*KOCO, "spool", "--block"], tmp_path, variables):
        # its claim must run out first
        await until(lambda: set(receiver.ids()[before:]) == expected, deadline_s=2 * START_S)
    assert {delivery.body for delivery in receiver.deliveries[before:]} == {
        delivery.body for delivery in receiver.deliveries[:before]
    }


async def test_a_webhook_without_secret_stops_koco_spool_with_what_to_do(
    variables: dict[str, str], tmp_path: Path
) -> None:
    del variables["KODO_WEBHOOK_SECRET"]
    for arguments in (["spool", "--block"], ["spool"]):
        with running([*KOCO, *arguments], tmp_path, variables) as spooler:
            assert await asyncio.to_thread(spooler.ended) == 2
            assert spooler.has_said("KODO_WEBHOOK_SECRET") and spooler.has_said("openssl rand")
