"""One run: what it puts, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from kodosumi.runner.main import Runner
from kodosumi.runner.spec import RunFiles
from kodosumi.transport import ProducerTicket
from tests.unit.runner.recorder import RECORDS, spec_of


def small(inputs: dict[str, int], tracer):
    print("hello", inputs["x"])
    tracer.debug_sync("one", "two")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    print("after the child")
    return inputs["x"] + 1


async def test_a_plain_function_gives_its_events_in_order(serve) -> None:
    served = await serve(small, {"x": 1})
    assert served.record.pairs == [
        ("status", "running"),
        ("stdout", "hello 1"),
        ("debug", "one\ntwo"),
        ("stdout", "from a child"),
        ("stdout", "after the child"),
        ("final", '{"int": 2}'),
        ("status", "finished"),
    ]
    assert served.outcome[:3] == ("finished", True, "")


async def test_what_a_run_downloaded_stays_to_its_end(runner: Runner, tmp_path: Path, ticket: ProducerTicket) -> None:
    given = tmp_path / ticket.username / ticket.fid / "in" / "note.txt"
    given.parent.mkdir(parents=True)
    given.write_text("a note")

    async def entry(inputs, tracer):
        async with await tracer.fs() as files:
            (path,) = [path async for path in files.download("in")]
        await tracer.debug(path, Path(path).read_text())

    spec = replace(spec_of(ticket.fid, entry), files=RunFiles(root=str(tmp_path)))
    await runner.run(spec, ticket)

    ((path, text),) = (payload.split("\n") for payload in RECORDS[ticket.fid].payloads("debug"))
    assert text == "a note"
    assert not Path(path).exists()


async def test_a_coroutine_function_runs_on_a_loop_of_its_own(serve) -> None:
    async def entry(inputs, tracer):
        await tracer.markdown("a", "b")
        print("printed")
        await asyncio.sleep(0)
        return

    served = await serve(entry)
    assert json.loads(served.record.payloads("result")[0]) == {"Markdown": {"body": "a\n\nb"}}
    assert served.record.payloads("stdout") == ["printed"]
    assert served.record.payloads("final") == ['{"NoneType": null}']
