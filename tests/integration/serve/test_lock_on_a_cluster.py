"""A lock all the way: a run on the cluster waits, its app asks and answers by HTTP, the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi import forms as F
from kodosumi import launcher as launchers
from kodosumi.config import Settings
from kodosumi.core import Launch
from kodosumi.launcher import Launcher
from kodosumi.serve import ServeAPI
from kodosumi.serve.caller import ClusterKeys
from tests.conditions import until
from tests.engine import Engine


async def asks_in_turn(inputs: dict[str, Any], tracer: Any) -> list[Any]:
    return [await tracer.lock("number", {"n": n}) for n in range(inputs["times"])]


def app_that_asks() -> ServeAPI:
    app = ServeAPI()
    app.caller_keys = ClusterKeys()
    app.enter("/", F.Model(F.InputNumber("times")))(lambda request, inputs: Launch(request, asks_in_turn, inputs))
    app.lock("number")(lambda data: F.Model(F.Markdown(f"{data['n']}"), F.InputNumber("value", required=True)))
    app.lease("number")(lambda data, inputs: (data["n"], inputs["value"]))
    return app


@pytest.fixture
async def engine(ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    settings = Settings(ray_server=ray_cluster, exec_dir=tmp_path, _env_file=None)
    launcher = Launcher(settings)
    monkeypatch.setattr(launchers, "_launcher_of", lambda pid: launcher)
    engine = Engine(settings, tmp_path)
    # Ray imports what it needs for its first actor, which two threads of one process must not do at once.
    await engine.mode.configure()
    spooling = asyncio.create_task(engine.spooler.run())
    yield engine
    engine.spooler.stop()
    await spooling
    await engine.mode.close()
    await launcher.mode.close()


async def test_a_run_on_the_cluster_gets_the_answers_that_its_app_takes(engine: Engine) -> None:
    transport = httpx.ASGITransport(app_that_asks())
    async with httpx.AsyncClient(transport=transport, base_url="http://app.test", timeout=60) as client:
        fid = (await client.post("/", json={"times": 3})).json()["result"]
        for n in range(3):
            execution = await until(lambda: engine.store.execution(fid), lambda found: len(found.locks) == 1, 60.0)
            path = f"/_lock_/{fid}/{execution.locks[0]}"
            assert (await client.get(path)).json()[0]["text"] == str(n)
            assert "value" in (await client.post(path, json={})).json()["errors"]
            answer = await client.post(path, json={"value": n * 10})
            assert answer.json()["result"] == [n, n * 10]
            assert (await client.post(path, json={"value": 0})).status_code in (409, 404)
            await until(lambda: engine.store.execution(fid), lambda found, path=path: path[-36:] not in found.locks)
        ended = await engine.ended(fid)
        assert ended.state == "finished"
        assert (await client.get(path)).status_code == 404
