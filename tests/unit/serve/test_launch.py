"""What ``Launch`` hands to the execution mode, with a panel in front of the app and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest
from fastapi import FastAPI, Request

from kodosumi import forms as F
from kodosumi.config import process_settings
from kodosumi.core import Launch
from kodosumi.error import BadInputs, LaunchUnavailable
from kodosumi.events import is_fid
from kodosumi.identity import ANONYMOUS
from kodosumi.runner.entry import resolve
from kodosumi.runner.spec import RunFiles
from kodosumi.serve import ServeAPI
from tests.conditions import until

from .conftest import Client, NotedMode
from .panel import BASE, FID, KnownKeys, vouched


def app_that_launches(handler: Callable[..., Any] | None = None) -> ServeAPI:
    app = ServeAPI()
    app.caller_keys = KnownKeys()

    async def launching(request: Request) -> Any:
        return Launch(request, f"{__name__}:entry", inputs={"n": 1})

    app.enter("/", F.Model(F.Submit("go")), summary="S")(handler or launching)
    return app


async def post(client_of: Client, app: Any, headers: dict[str, str] | None = None) -> Any:
    async with client_of(app) as client:
        return await client.post("/", json={}, headers=headers)


async def test_a_run_takes_the_id_and_the_key_that_the_panel_granted(client_of: Client, mode: NotedMode) -> None:
    headers = vouched("POST", "/", root="/files", mark="m")
    answer = await post(client_of, app_that_launches(), headers)
    assert answer.json()["result"] == answer.headers["kodosumi_launch"] == FID
    (spec,) = mode.specs
    assert (spec.fid, spec.username, spec.app_url, spec.panel_url) == (FID, "alice", BASE, "http://panel.test")
    assert spec.files == RunFiles("http://panel.test", headers["x-kodosumi-run"], "/files", "m")
    assert json.loads(spec.meta_payload)["dict"]["fid"] == FID


async def test_an_entry_point_that_is_sent_as_an_object_keeps_its_file_name(client_of: Client, mode: NotedMode) -> None:
    def local() -> None: ...

    async def handler(request: Request) -> Any:
        return Launch(request, local, inputs={"call": local})

    await post(client_of, app_that_launches(handler), vouched("POST", "/"))

    (spec,) = mode.specs
    assert resolve(spec.entry_point).__code__.co_filename == __file__
    assert cloudpickle.loads(spec.inputs)["call"].__code__.co_filename == __file__


async def test_without_a_panel_files_are_where_the_process_keeps_its_own(client_of: Client, mode: NotedMode) -> None:
    forged = {"x-kodosumi-url": "http://evil.test", "x-kodosumi-run": vouched("POST", "/")["x-kodosumi-run"]}
    for headers in ({}, forged):
        assert (await post(client_of, app_that_launches(), headers)).status_code == 200
    for spec in mode.specs:
        assert is_fid(spec.fid) and spec.fid != FID and spec.username == ANONYMOUS
        assert spec.files == RunFiles(root=str(process_settings().exec_dir.absolute()))


async def test_a_panel_that_granted_nothing_still_gets_its_run(client_of: Client, mode: NotedMode) -> None:
    for headers in (vouched("POST", "/", fid=None), vouched("POST", "/", launches=False)):
        assert (await post(client_of, app_that_launches(), headers)).status_code == 200
    for spec in mode.specs:
        assert spec.fid != FID and spec.username == "alice"
        assert spec.files == RunFiles("http://panel.test")


async def test_launches_at_the_same_instant_never_share_an_id(client_of: Client, mode: NotedMode) -> None:
    async def handler(request: Request) -> Any:
        made = [asyncio.to_thread(Launch, request, f"{__name__}:entry") for _ in range(20)]
        return (await asyncio.gather(*made))[0]

    await post(client_of, app_that_launches(handler), vouched("POST", "/"))
    await until(lambda: len(mode.specs) == 20)
    assert len({spec.fid for spec in mode.specs}) == 20
    assert [spec.files.token != "" for spec in mode.specs].count(True) == 1


async def test_a_run_knows_the_locks_of_its_app(client_of: Client, mode: NotedMode) -> None:
    app = app_that_launches()
    await post(client_of, app)
    app.lock("approve")(lambda: None)
    app.lease("approve")(lambda: None)
    app.lock("sign")(lambda: None)
    await post(client_of, app)
    other = FastAPI()

    @other.post("/")
    async def launching(request: Request) -> Any:
        return Launch(request, f"{__name__}:entry")

    await post(client_of, other)
    assert [spec.locks for spec in mode.specs] == [(), ("approve", "sign"), None]


@pytest.mark.parametrize(
    ("problem", "status"), [(LaunchUnavailable("full"), 503), (BadInputs("large"), 400), (OSError("odd"), 503)]
)
async def test_what_the_mode_refuses_is_told(
    client_of: Client, mode: NotedMode, problem: Exception, status: int
) -> None:
    mode.problem = problem
    answer = await post(client_of, app_that_launches())
    assert answer.status_code == status and str(problem) in answer.json()["detail"]


def entry(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"n": inputs["n"] + 1}


async def test_a_launch_runs_in_this_process_without_a_cluster(client_of: Client, mode: NotedMode) -> None:
    mode.runs = True
    answer = await post(client_of, app_that_launches())
    fid = answer.json()["result"]
    consumer = mode._transport.consumer()
    payloads: list[str] = []
    while "finished" not in payloads:
        for delivery in await consumer.take(100, 10.0):
            assert delivery.fid == fid
            payloads += [event.payload for batch in delivery.batches for event in batch.events]
            await consumer.ack({fid: delivery.batches[-1].position})
    await consumer.close()
    assert '{"dict": {"n": 2}}' in payloads
