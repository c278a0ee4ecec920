"""``koco spool`` with a Redis that can't be used: one line that names the remedy, and nothing that goes on trying."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.servers.proxy import proxies
from tests.servers.redis import RedisServer
from tests.stack import KOCO

pytestmark = pytest.mark.fault

SECRET = "s3cret"
UNUSABLE = 2
FOREGROUND, BACKGROUND = ("spool", "--block"), ("spool",)


@pytest.mark.parametrize("command", [FOREGROUND, BACKGROUND], ids=" ".join)
def test_a_wrong_password_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    with RedisServer(requirepass="another") as server:
        said = refused(command, tmp_path, f"redis://:{SECRET}@127.0.0.1:{server.port}/0")

    where = f"Redis at redis://127.0.0.1:{server.port}/0"
    assert said == f"{where}: user name or password are wrong: correct them in KODO_REDIS_URL."


def test_a_missing_password_is_one_line(tmp_path: Path) -> None:
    with RedisServer(requirepass=SECRET) as server:
        said = refused(FOREGROUND, tmp_path, f"redis://127.0.0.1:{server.port}/0")

    assert said.endswith("it asks for a password: put it into KODO_REDIS_URL.")


@pytest.mark.parametrize("command", [FOREGROUND, BACKGROUND], ids=" ".join)
def test_a_missing_driver_is_one_line_that_names_the_extra(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ModuleNotFoundError(\"No module named 'redis'\")")

    said = refused(command, tmp_path, "redis://127.0.0.1:6379/0", {"PYTHONPATH": str(tmp_path)})

    assert said == "KODO_EVENT_TRANSPORT=redis: its driver is missing, install `kodosumi[redis]`."


@pytest.mark.parametrize("command", [FOREGROUND, BACKGROUND], ids=" ".join)
def test_a_redis_that_is_too_old_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    with RedisServer() as server, proxies(server.port) as (proxy,):
        proxy.rewrite = lambda answer: re.sub(rb"redis_version:\d", b"redis_version:5", answer)
        said = refused(command, tmp_path, f"redis://127.0.0.1:{proxy.port}/0")

    assert re.search(r" is version 5\.[\d.]+: KODO_EVENT_TRANSPORT=redis needs Redis 6\.2 or newer, or Valkey\.$", said)


def test_what_is_no_url_is_one_line(tmp_path: Path) -> None:
    said = refused(FOREGROUND, tmp_path, f"http://:{SECRET}@127.0.0.1:6379")

    assert "KODO_REDIS_URL cannot be read" in said


def refused(command: tuple[str, ...], folder: Path, url: str, variables: Mapping[str, str] | None = None) -> str:
    """The one line that ``koco`` says when it ends at once with this URL."""
    transport = {"KODO_EVENT_TRANSPORT": "redis", "KODO_REDIS_URL": url}
    ended = subprocess.run(
        [str(KOCO), *command],
        cwd=folder,
        env={**os.environ, **transport, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (UNUSABLE, ""), ended
    (line,) = ended.stderr.splitlines()
    assert SECRET not in line
    return line
