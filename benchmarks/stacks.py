"""Stacks to be measured, each with a Ray and a data folder of its own; what the benchmark says on its way."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack import StackProcess, private_ray


@contextmanager
def stack(**settings: str) -> Iterator[StackProcess]:
    """A ready stack that runs ``load.app``."""
    folder, ray_dir = Path(tempfile.mkdtemp(prefix="kodosumi-bench")), Path(tempfile.mkdtemp(prefix="kb", dir="/tmp"))
    try:
        arguments = ["--app-dir", str(Path(__file__).parent), "--app", "load.app:fast_app"]
        with StackProcess(folder, arguments, {**private_ray(ray_dir), **settings}) as running:
            yield running.until_ready()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(ray_dir, ignore_errors=True)


def say(text: str) -> None:
    """Progress, apart from the table."""
    sys.stderr.write(f"{text}\n")
