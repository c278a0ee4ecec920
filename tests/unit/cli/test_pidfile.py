"""Pid files: alive as long as the lock is held, whatever the file says."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

from kodosumi.start.pidfile import PidFile, living_pid
from tests.conditions import until

HOLD = """
import sys, time
from pathlib import Path
from kodosumi.start.pidfile import PidFile
with PidFile(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_is_not_there_names_nobody(tmp_path: Path) -> None:
    assert living_pid(tmp_path / "none.pid") is None


def test_a_process_is_named_until_it_leaves(tmp_path: Path) -> None:
    path = tmp_path / "new" / "job.pid"

    with PidFile(path) as first, PidFile(path) as second:
        assert (first.held, second.held) == (True, False)
        assert living_pid(path) == os.getpid()

    assert living_pid(path) is None


async def test_a_killed_process_is_not_alive_although_its_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "job.pid"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert living_pid(path) == process.pid

        process.kill()

    await until(lambda: living_pid(path) is None)
    assert path.read_text() == str(process.pid)


def test_two_who_look_at_once_do_not_take_each_other_for_the_process(tmp_path: Path) -> None:
    path = tmp_path / "job.pid"
    path.write_text("1")

    with path.open() as looked_at:
        # As one who looks has it for a moment.
        fcntl.flock(looked_at, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert living_pid(path) is None


def test_who_looks_for_long_does_not_cost_the_process_its_file(tmp_path: Path) -> None:
    path = tmp_path / "job.pid"
    path.touch()

    with path.open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH | fcntl.LOCK_NB)
        letting_go = threading.Timer(0.5, fcntl.flock, (looked_at, fcntl.LOCK_UN))
        letting_go.start()
        with PidFile(path) as file:
            assert file.held
        letting_go.join()
