"""The panel as a process: serves, drains, ends cleanly, and hides its secrets from the process list."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from tests.conditions import until
from tests.servers.server import free_port

SCRIPT = "from kodosumi.service.server import run; run()"
START_S = 120.0


@contextmanager
def panel_process(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A panel in a process of its own, and its address."""
    address = f"http://127.0.0.1:{free_port()}"
    variables = {
        "KODO_ADMIN_DATABASE": f"sqlite+aiosqlite:///{folder}/admin.db",
        "KODO_EXEC_DIR": str(folder / "execution"),
        "KODO_EVENT_TRANSPORT": "memory",
        "KODO_EXECUTION_MODE": "memory",
        "KODO_APP_LOG_FILE": str(folder / "app.log"),
        "KODO_APP_SERVER": address,
    } | {f"KODO_{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, **variables, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, variables["KODO_APP_SERVER"]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def alive(address: str) -> bool:
    # Without the certificates, which each try would read anew.
    async with httpx.AsyncClient(timeout=60, verify=False) as client:
        return (await client.get(f"{address}/health/live")).status_code == 200


async def begin_run(folder: Path, username: str) -> str:
    """Stores an execution that goes on, as a spooler would; its id."""
    from kodosumi.config import load_settings
    from kodosumi.store import connect_store

    fid = new_fid()
    store = connect_store(load_settings(exec_dir=folder / "execution"))
    events = [Event.now(EventKind.STATUS, "starting"), Event.now(EventKind.STATUS, "running")]
    await store.append(fid, username, [Batch(Position(1, 1), events)])
    await store.close()
    return fid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_panel_with_an_open_stream_ends_at_once_and_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with panel_process(tmp_path) as (process, address):
        await until(lambda: alive(address), deadline_s=START_S)
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            login = await client.post("/api/login", json={"name": "admin", "password": "admin"})
            fid = await begin_run(tmp_path, login.json()["id"])
            async with client.stream("GET", f"/outputs/stream/{fid}") as stream:
                lines = stream.aiter_lines()
                await until(lambda: anext(lines), lambda line: "running" in line)
                process.send_signal(number)
                async for _line in lines:  # ends by itself: no reset, no time-out
                    pass
        await until(process.poll, lambda code: code is not None)
        assert process.returncode == 0, process.communicate()[0]


async def test_workers_share_the_port_the_secret_and_the_sessions(tmp_path: Path) -> None:
    with panel_process(tmp_path, app_workers="2", admin_password="not in ps") as (process, address):
        await until(lambda: alive(address), deadline_s=START_S)
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            login = await client.post("/api/login", json={"name": "admin", "password": "not in ps"})
            key = login.json()["KODOSUMI_API_KEY"]
        for _ in range(8):  # a connection each, to whichever worker takes it
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                assert (await client.get("/role/me", headers={"KODOSUMI_API_KEY": key})).status_code == 200
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "not in ps" not in listed
        process.send_signal(signal.SIGTERM)
        await until(process.poll, lambda code: code is not None)
        assert process.returncode == 0, process.communicate()[0]


async def test_the_log_file_has_neither_passwords_nor_tokens(tmp_path: Path) -> None:
    with panel_process(tmp_path, uvicorn_level="DEBUG", app_log_file_level="DEBUG") as (process, address):
        await until(lambda: alive(address), deadline_s=START_S)
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            login: Any = await client.get("/login", params={"name": "admin", "password": "admin"})
            await client.get("/login", params={"name": "admin", "password": "a-wrong-guess"})
            await client.post("/api/login", content=b'{"name": "admin", "password": "a-wrong-guess"')
            await client.get("/role/me")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=START_S)
        text = output + (tmp_path / "app.log").read_text()
        assert "/role/me" in text
        assert "a-wrong-guess" not in text
        assert "password=" not in text and login.json()["KODOSUMI_API_KEY"] not in text


async def test_every_line_of_a_panels_json_log_is_an_object_that_names_its_request(tmp_path: Path) -> None:
    with panel_process(tmp_path, log_format="json", uvicorn_level="INFO") as (process, address):
        await until(lambda: alive(address), deadline_s=START_S)
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            await client.post("/api/login", json={"name": "admin", "password": "admin"})
            named = await client.get("/role/me", headers={"X-Request-ID": "from.the-proxy_1"})
            made = await client.get("/outputs/status/65f0c0ffee00000000000000", headers={"X-Request-ID": "not usable"})
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=START_S)
    assert named.headers["x-request-id"] == "from.the-proxy_1"
    assert made.headers["x-request-id"] not in ("", "not usable")
    for text in (output, (tmp_path / "app.log").read_text()):
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["process"] for line in lines} == {"panel"}
        accessed = {line["request_id"]: line for line in lines if line["logger"] == "uvicorn.access"}
        assert "/role/me" in accessed["from.the-proxy_1"]["message"]
        assert accessed[made.headers["x-request-id"]]["fid"] == "65f0c0ffee00000000000000"


async def test_a_panel_that_must_not_start_says_so_in_json(tmp_path: Path) -> None:
    settings = {"app_server": f"http://0.0.0.0:{free_port()}", "log_format": "json"}
    with panel_process(tmp_path, **settings) as (process, _address):
        output, _ = process.communicate(timeout=START_S)
    lines = [json.loads(line) for line in output.splitlines()]
    assert "KODO_SECRET_KEY" in lines[-1]["exception"]


async def test_a_panel_that_must_not_start_says_so_in_one_line(tmp_path: Path) -> None:
    with panel_process(tmp_path, app_server=f"http://0.0.0.0:{free_port()}") as (process, _address):
        output, _ = process.communicate(timeout=START_S)
        assert process.returncode != 0
        assert "KODO_SECRET_KEY" in output.splitlines()[-1]
