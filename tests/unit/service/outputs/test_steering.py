"""Pause, resume and cancel: who may, what comes back, and what is said when it can't be done."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from kodosumi.events import new_fid
from kodosumi.service import executions, steering
from tests.conditions import until

from .scene import ALICE, Scene

ACTIONS = ("pause", "resume", "cancel")


async def test_a_run_is_paused_resumed_and_cancelled_in_the_name_of_its_user(
    scene: Scene, alice: httpx.AsyncClient
) -> None:
    fid = await scene.begun()
    for action, status in (("pause", "paused"), ("resume", "running"), ("cancel", "error")):
        answer = await alice.post(f"/outputs/{fid}/{action}")
        assert (answer.status_code, answer.json()) == (200, {"fid": fid, "status": status})
        assert (await alice.get(f"/outputs/status/{fid}")).json()["status"] == status
    assert scene.mode.steered == [(action, fid, "alice") for action in ACTIONS]


async def test_pausing_twice_and_resuming_what_runs_change_nothing(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    assert (await alice.post(f"/outputs/{fid}/resume")).json()["status"] == "running"
    for _ in range(2):
        assert (await alice.post(f"/outputs/{fid}/pause")).json()["status"] == "paused"


async def test_a_paused_run_with_an_open_lock_is_shown_as_paused_and_awaits_again_when_resumed(
    scene: Scene, alice: httpx.AsyncClient
) -> None:
    fid = await scene.begun()
    await scene.commit(fid, ("lock", json.dumps({"dict": {"lid": "a", "name": "ask"}})))
    assert (await alice.post(f"/outputs/{fid}/pause")).json()["status"] == "paused"
    [item] = (await alice.get("/timeline/list")).json()["items"]
    assert (item["status"], item["locks"]) == ("paused", ["a"])
    assert (await alice.post(f"/outputs/{fid}/resume")).json()["status"] == "awaiting"


@pytest.mark.parametrize("action", ACTIONS)
async def test_only_the_owner_and_operators_steer_a_run(
    action: str, scene: Scene, bob: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    fid = await scene.begun(ALICE)
    refused = await bob.post(f"/outputs/{fid}/{action}")
    assert (refused.status_code, refused.json()["detail"]) == (404, f"Execution {fid} not found.")
    assert scene.mode.steered == []
    assert (await admin.post(f"/outputs/{fid}/{action}")).status_code == 200
    assert scene.mode.steered == [(action, fid, "admin")]


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_is_unknown_or_deleted_cannot_be_steered(
    action: str, scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 0.01)
    archived = await scene.begun()
    await scene.store.archive(archived)
    for fid in (new_fid(1.6e9), archived, "status", "%2e%2e"):
        assert (await alice.post(f"/outputs/{fid}/{action}")).status_code == 404
    assert scene.mode.steered == []


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_run_that_is_over_says_how_it_ended(action: str, scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.finished()
    answer = await alice.post(f"/outputs/{fid}/{action}")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"Execution {fid} is over: it has finished.")
    failed = await scene.begun()
    await scene.commit(failed, ("error", "boom"), ("status", "error"))
    answer = await alice.post(f"/outputs/{failed}/{action}")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        f"Execution {failed} is over: it has ended with an error.",
    )
    assert scene.mode.steered == []


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_run_whose_end_is_on_its_way_into_the_store_is_over(
    action: str, scene: Scene, alice: httpx.AsyncClient
) -> None:
    fid = await scene.begun()
    scene.mode.gone.add(fid)
    scene.mode.held.clear()
    asked = asyncio.create_task(alice.post(f"/outputs/{fid}/{action}"))
    await until(lambda: scene.mode.steered)
    scene.mode.held.set()
    await scene.commit(fid, ("final", "null"), ("status", "finished"))
    answer = await asked
    assert (answer.status_code, answer.json()["detail"]) == (409, f"Execution {fid} is over: it has finished.")


async def test_a_run_that_is_gone_without_a_stored_end_is_not_said_to_have_finished(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "SHOWN_WAIT_S", 0.05)
    fid = await scene.begun()
    scene.mode.gone.add(fid)
    answer = await alice.post(f"/outputs/{fid}/pause")
    assert answer.status_code == 409 and "does not run any more" in answer.json()["detail"]


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_cluster_that_cannot_answer_is_named_with_its_reason(
    action: str, scene: Scene, alice: httpx.AsyncClient
) -> None:
    fid = await scene.begun()
    scene.mode.away = True
    answer = await alice.post(f"/outputs/{fid}/{action}")
    assert answer.status_code == 503 and "Ray cannot be reached" in answer.json()["detail"]
    assert (await alice.get(f"/outputs/status/{fid}")).json()["status"] == "running"


async def test_a_pause_that_the_store_does_not_show_in_time_is_true_all_the_same(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "SHOWN_WAIT_S", 0.05)
    fid = await scene.begun()

    async def slow(*_: object) -> bool:
        return True

    monkeypatch.setattr(scene.mode, "pause", slow)
    assert (await alice.post(f"/outputs/{fid}/pause")).json() == {"fid": fid, "status": "paused"}


async def test_a_cancel_whose_end_is_not_stored_in_time_is_no_success(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "END_WAIT_S", 0.05)
    fid = await scene.begun()

    async def slow(*_: object) -> bool:
        return True

    monkeypatch.setattr(scene.mode, "cancel", slow)
    answer = await alice.post(f"/outputs/{fid}/cancel")
    assert answer.status_code == 503 and "not stored yet" in answer.json()["detail"]


async def test_attempts_and_pauses_are_in_the_streams(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    attempt = json.dumps({"dict": {"number": 2, "reason": "its process was lost"}})
    await scene.commit(fid, ("status", "paused"), ("attempt", attempt), ("status", "running"), ("status", "finished"))
    for stream in ("stream", "main", "stdio"):
        text = (await alice.get(f"/outputs/{stream}/{fid}")).text
        assert f":{attempt}" in text and "event: attempt" in text
    assert ":paused" in (await alice.get(f"/outputs/main/{fid}")).text
