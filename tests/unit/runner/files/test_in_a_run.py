"""File systems in the hands of user code, in a runner's process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kodosumi.core import Tracer
from kodosumi.events import new_fid
from kodosumi.runner.main import Runner
from kodosumi.runner.spec import RunFiles
from kodosumi.transport import ProducerTicket
from tests.unit.runner.files.suite import put
from tests.unit.runner.recorder import RECORDS, spec_of

NOBODY = "http://127.0.0.1:9"


async def for_coroutines(inputs: Any, tracer: Tracer) -> list[str]:
    async with await tracer.fs() as fs:
        copies = [path async for path in fs.download()]
        await fs.upload(*copies)
        return [file["path"] for file in await fs.ls("out")]


def for_plain_code(inputs: Any, tracer: Tracer) -> list[str]:
    with tracer.fs_sync() as fs:
        fs.upload(*fs.download())
        return [file["path"] for file in fs.ls("out")]


async def never_closed(inputs: Any, tracer: Tracer) -> list[str]:
    fs = await tracer.fs()
    assert fs.open("in/a")
    assert [piece async for piece in fs.open("in/a").read()] == [b"a"]
    return [file["path"] for file in tracer.fs_sync().ls("in")]


@pytest.mark.parametrize("code", [for_coroutines, for_plain_code, never_closed])
async def test_a_process_whose_run_used_files_serves_the_next_one(runner: Runner, tmp_path: Path, code: Any) -> None:
    fid = new_fid()
    ticket = ProducerTicket(fid, "tester", "recorder", {}, max_event_bytes=1_000_000)
    put(tmp_path / "execution/tester" / fid, in__a="a", in__b="b")
    spec = dataclasses.replace(spec_of(fid, code), files=RunFiles(NOBODY, "token", str(tmp_path / "execution")))

    outcome = await runner.run(spec, ticket)

    (final,) = RECORDS[fid].payloads("final")
    assert "/a" in final and "/b" in final
    assert outcome.reusable, outcome.reason


async def test_a_run_that_asks_for_no_file_needs_no_panel(runner: Runner) -> None:
    ticket = ProducerTicket(new_fid(), "tester", "recorder", {}, max_event_bytes=1_000_000)
    spec = dataclasses.replace(spec_of(ticket.fid, opens_only), files=RunFiles(NOBODY, "token"))

    assert (await runner.run(spec, ticket)).reusable

    assert RECORDS[ticket.fid].payloads("status")[-1] == "finished"


async def opens_only(inputs: Any, tracer: Tracer) -> str:
    with tracer.fs_sync() as fs, fs.open("in/a"):
        pass
    async with await tracer.fs() as fs_, fs_.open("in/a"):
        return "done"
