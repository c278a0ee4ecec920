"""The small parts of mode temporal: reasons, names, certificates, folders, and what is said without the extra."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kodosumi import activities
from kodosumi.activities import short
from kodosumi.config import Settings
from kodosumi.error import ConfigurationError, StoreUnavailable
from kodosumi.events import Event, EventKind, new_fid
from kodosumi.execution import temporal_client
from kodosumi.execution.temporal import TemporalMode
from kodosumi.files.base import MARK
from kodosumi.log import current_fid
from kodosumi.runner.spec import AppEnvironment, AttemptEnd, AttemptOutcome, RunFiles, RunSpec
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.stored import StoreFollower
from kodosumi.transport.memory import MemoryTransport
from tests.scripted_pool import TRACEBACK

SPEC = RunSpec(new_fid(), "ada", AppEnvironment("app"), b"pickled", b"", "{}", '{"dict": {"entry_point": "agent.run"}}')


@pytest.mark.parametrize(
    ("end", "reason", "expected"),
    [
        (AttemptEnd.RAISED, TRACEBACK, "agent.Busy"),
        (AttemptEnd.RAISED, "ValueError: a secret", "ValueError"),
        (AttemptEnd.RAISED, "no traceback, but a secret", "User code raised an exception."),
        (AttemptEnd.RAISED, "", "User code raised an exception."),
        (AttemptEnd.DIED, "RunnerDied: gone.\nThe actor died.", "RunnerDied: gone."),
        (AttemptEnd.DIED, "", ""),
    ],
)
def test_a_reason_goes_to_temporal_without_what_user_code_said(end: AttemptEnd, reason: str, expected: str) -> None:
    assert short(AttemptOutcome(end, reason)) == expected


def test_a_flow_is_named_by_its_code() -> None:
    assert temporal_client.flow_of(SPEC) == "agent.run"
    assert temporal_client.flow_of(replace(SPEC, meta_payload="{}")) == "app"
    assert temporal_client.flow_of(replace(SPEC, meta_payload="x", entry_point="a:b")) == "a:b"
    long = temporal_client.flow_of(replace(SPEC, meta_payload="{}", entry_point="ü" * 500))
    assert len(long.encode()) <= 200


async def test_a_certificate_needs_its_key_and_must_be_readable(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    with pytest.raises(ConfigurationError, match="need each other"):
        await temporal_client.connect(Settings(temporal_tls_cert=missing, _env_file=None))
    with pytest.raises(ConfigurationError, match=r"KODO_TEMPORAL_TLS_CA=.*none\.pem.* cannot be read: No such file"):
        await temporal_client.connect(Settings(temporal_tls_ca=missing, _env_file=None))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, False), ({"temporal_tls": True}, True), ({"temporal_api_key": "key"}, True)],
)
def test_tls_is_spoken_where_it_was_asked_for_or_an_api_key_travels(
    settings: dict[str, object], expected: bool
) -> None:
    assert temporal_client._tls(Settings(_env_file=None, **settings)) is expected


async def test_launches_are_kept_in_the_folder_that_the_panel_named_and_marked(tmp_path: Path) -> None:
    mode = TemporalMode(Settings(exec_dir=tmp_path / "own", _env_file=None))
    named = tmp_path / "named"
    named.mkdir()
    (named / MARK).write_text("mark")
    own = await mode._store_of(SPEC)
    assert await mode._store_of(replace(SPEC, files=RunFiles(root=str(named), mark="mark"))) is not own
    assert await mode._store_of(replace(SPEC, files=RunFiles(root=str(named), mark="other"))) is own
    await mode.close()


@pytest.mark.parametrize("module", ["kodosumi.execution.temporal", "kodosumi.cli temporal-worker"])
def test_without_the_extra_one_line_names_it(module: str) -> None:
    name, *arguments = module.split()
    code = f"""
import importlib, sys
sys.modules["temporalio"] = None
sys.argv = ["koco", *{arguments!r}]
module = importlib.import_module({name!r})
module.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("KODO_EXECUTION_MODE=temporal: its client is missing, install `kodosumi[temporal]`.")
    )
    if arguments:
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)


async def test_who_waits_for_the_store_is_woken_by_its_commits() -> None:
    transport, store, fid = MemoryTransport(new_fid()), MemoryExecutionStore(), new_fid()
    follower = StoreFollower(transport)
    looked = 0

    async def read() -> int | None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise StoreUnavailable("not now")
        return (await store.execution(fid)).seq or None if looked > 2 else None

    waiting = asyncio.create_task(follower.until(fid, read, 60.0))
    producer = transport.producer(fid, "ada")
    await producer.put([Event.now(EventKind.DEBUG, "x")])
    consumer = transport.consumer()
    [delivery] = await consumer.take(10, 10.0)
    await store.append(fid, "ada", delivery.batches)
    await consumer.ack({fid: delivery.batches[-1].position})
    assert await waiting == 1
    assert await follower.until(fid, lambda: asyncio.sleep(0), 0.05) is None
    for part in (follower, producer, consumer, transport):
        await part.close()


async def test_what_is_logged_while_an_activity_is_served_names_its_run() -> None:
    async with activities._alive("f-1"):
        assert current_fid() == "f-1"
    assert current_fid() == ""
