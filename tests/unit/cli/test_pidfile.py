"""Pid files: alive as long as the lock is held, whatever the file says."""

from __future__ import annotations

import os
import subprocess
import sys
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
