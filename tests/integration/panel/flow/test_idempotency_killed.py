"""``Idempotency-Key`` when the panel is killed between an app's launch and the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from kodosumi.events import Batch, Event, EventKind, Position
from kodosumi.identity import IdentitySigner
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.conditions import until
from tests.integration.panel.flow.launch_app import LaunchApp
from tests.integration.schema.processes import KOCO, Process, running
from tests.servers.server import free_port

SECRET = "a secret of this test, and long enough"


async def logged_in(address: str) -> dict[str, str]:
    """The key of the operator, once the panel answers."""

    async def login() -> dict[str, Any]:
        try:
            # Without the certificates, which each try would read anew.
            async with httpx.AsyncClient(verify=False) as client:
                answer = await client.post(f"{address}/api/login", json={"name": "admin", "password": "admin"})
                return answer.json()
        except httpx.TransportError:
            return {}

    found = await until(login, lambda answer: "KODOSUMI_API_KEY" in answer, deadline_s=60)
    return {"KODOSUMI_API_KEY": found["KODOSUMI_API_KEY"], "id": found["id"]}


async def test_a_panel_killed_before_the_answer_has_launched_once(serve: Any, tmp_path: Path) -> None:
    app = LaunchApp(IdentitySigner(SECRET))
    source = await serve(app.app)
    address = f"http://127.0.0.1:{free_port()}"
    variables = {
        "KODO_ADMIN_DATABASE": f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        "KODO_EXEC_DIR": str(tmp_path / "execution"),
        "KODO_EVENT_TRANSPORT": "memory",
        "KODO_EXECUTION_MODE": "memory",
        "KODO_APP_SERVER": address,
        "KODO_SECRET_KEY": SECRET,
        "KODO_REGISTER_FLOW": source.openapi,
    }
    go_on = asyncio.Event()

    async def act(fid: str) -> None:
        await go_on.wait()

    async def ask(name: str, caller: dict[str, str]) -> httpx.Response:
        headers = caller | {"Idempotency-Key": name}
        async with httpx.AsyncClient(timeout=60) as client:
            return await client.post(f"{address}{source.place}/", json={"name": name}, headers=headers)

    def panel() -> Any:
        return running([*KOCO, "serve"], tmp_path, variables)

    app.act = act
    process: Process
    with panel() as process:
        caller = await logged_in(address)
        await until(lambda: found(address, source.place, caller))
        asking = [asyncio.create_task(ask(name, caller)) for name in ("stored", "unknown")]
        await until(lambda: len(app.fids) == 2)
        process.kill()
    assert all(isinstance(lost, httpx.TransportError) for lost in await asyncio.gather(*asking, return_exceptions=True))
    go_on.set()
    fids = dict(zip(app.bodies, app.fids, strict=True))
    stored, unknown = fids[b'{"name":"stored"}'], fids[b'{"name":"unknown"}']
    store = SqliteExecutionStore(tmp_path / "execution")
    await store.append(stored, caller["id"], [Batch(Position(1, 1), [Event.now(EventKind.STATUS, "starting")])])
    await store.close()

    with panel():
        await logged_in(address)
        answers = await asyncio.gather(ask("stored", caller), ask("unknown", caller))
    assert [answer.json() for answer in answers] == [{"fid": stored}, {"result": unknown, "number": 3}]
    assert app.fids[2:] == [unknown]


async def found(address: str, place: str, caller: dict[str, str]) -> bool:
    """Whether the panel knows the app."""
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{address}{place}/", headers=caller)).status_code == 200
