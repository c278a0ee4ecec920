"""Children of `koco start`: told and heard, ended, started again, and never left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kodosumi.start import child as child_module
from kodosumi.start.child import Child, ChildDied
from tests.conditions import lives, until

OBEDIENT = """
import os, signal, sys, threading
from kodosumi.start.lifeline import Lifeline
stop = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.set())
lifeline = Lifeline()
lifeline.on("question", lambda: lifeline.say("answer"))
lifeline.say("ready")
stop.wait()
"""

PARENT = """
import asyncio, sys
from tests.unit.cli.test_child import OBEDIENT, python_child
async def main():
    child = python_child(OBEDIENT)
    await child.start()
    await child.ready()
    print(child.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def python_child(code: str) -> Child:
    """A child that runs some code instead of a role."""
    child = Child("role", [], os.environ)
    child._command = [sys.executable, "-c", code]
    return child


@pytest.fixture
def obedient() -> Iterator[Child]:
    child = python_child(OBEDIENT)
    yield child
    child.kill()


async def test_a_child_is_ready_when_it_says_so_and_answers(obedient: Child) -> None:
    await obedient.start()
    await asyncio.wait_for(obedient.ready(), 30)

    assert await obedient.ask("question", "answer", 30)
    assert await obedient.ask("question", "answer", 30)
    assert await obedient.stop(30)
    assert not await obedient.ask("question", "answer", 30)


async def test_a_child_that_ends_before_it_is_ready_says_its_exit_code() -> None:
    child = python_child("import sys; sys.exit(2)")
    await child.start()

    with pytest.raises(ChildDied, match="exit code 2") as caught:
        await asyncio.wait_for(child.ready(), 30)

    assert caught.value.code == 2


async def test_a_child_that_does_not_end_is_killed() -> None:
    code = OBEDIENT.replace("stop.set()", "None")
    child = python_child(code)
    await child.start()
    await asyncio.wait_for(child.ready(), 30)
    pid = child.pid
    assert pid is not None

    assert not await child.stop(0.2)

    await until(lambda: not lives(pid))


async def test_a_child_that_dies_is_started_again_and_that_is_said(
    obedient: Child, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(child_module, "BACK_OFF_FIRST_S", 0.05)
    await obedient.start()
    await asyncio.wait_for(obedient.ready(), 30)
    first = obedient.pid
    assert first is not None
    keeper = asyncio.create_task(obedient.keep_alive())

    os.kill(first, 9)

    await until(lambda: obedient.pid, lambda pid: pid not in {None, first})
    said: list[str] = []
    await until(lambda: said.append(capsys.readouterr().out) or "runs again" in "".join(said))
    keeper.cancel()
    await obedient.stop(30)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.fault
async def test_no_child_is_left_behind_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert lives(child_pid)

        parent.kill()

    await until(lambda: not lives(child_pid))
