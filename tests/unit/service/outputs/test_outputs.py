"""``/outputs``: state, streams, results and deletion, as published."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from kodosumi.events import EventKind, new_fid
from kodosumi.service import deletion, executions, steering
from tests.conditions import until

from .event_source import parsed
from .scene import ALICE, Scene

OLD_FID = new_fid(1_600_000_000.0)
READS = ["status", "stream", "main", "stdio", "raw", "html"]


async def test_the_status_object_has_the_published_fields(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.finished(author="Ann", organization="Org", version="1", description="d", kodosumi="1.0")
    status = (await alice.get(f"/outputs/status/{fid}")).json()

    assert status.pop("timestamp") > 1.7e9
    assert json.loads(status.pop("final")) == {"Text": {"body": "done"}}
    assert status == {
        "status": "finished",
        "fid": fid,
        "summary": "My app",
        "description": "d",
        "tags": ["x"],
        "deprecated": None,
        "author": "Ann",
        "organization": "Org",
        "version": "1",
        "kodosumi_version": "1.0",
        "app_url": None,
        "entry_point": "my.app:run",
        "username": ALICE.id,
        "locks": [],
    }


async def test_the_final_of_a_failed_run_is_its_error_in_one_line(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    boom()\nValueError: boom\n'
    await scene.commit(fid, ("error", trace), ("status", "error"))

    status = (await alice.get(f"/outputs/status/{fid}")).json()
    assert status["status"] == "error" and json.loads(status["final"]) == {"Text": {"body": "ValueError: boom"}}
    assert (await alice.get(f"/outputs/raw/{fid}")).json() == {"Text": {"body": "ValueError: boom"}}
    assert "ValueError: boom" in (await alice.get(f"/outputs/html/{fid}")).text


async def test_a_run_that_waits_its_turn_says_its_place(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = new_fid()
    await scene.commit(fid, ("status", "starting"))
    assert "queue_position" not in (await alice.get(f"/outputs/status/{fid}")).json()
    scene.mode.queue = {fid: 3}
    assert (await alice.get(f"/outputs/status/{fid}")).json()["queue_position"] == 3
    scene.mode.away = True
    answer = await alice.get(f"/outputs/status/{fid}")
    assert answer.status_code == 200 and "queue_position" not in answer.json()


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("extended", ["true", "false"])
async def test_an_unknown_execution_is_not_found(
    alice: httpx.AsyncClient, read: str, extended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 0.01)
    monkeypatch.setattr(executions, "ENDED_GRACE_S", 0.01)
    for fid in (OLD_FID, new_fid(), "x", "..%2f..%2fetc", "a" * 500, "A" * 24, "%00"):
        answer = await alice.get(f"/outputs/{read}/{fid}?extended={extended}")
        assert answer.status_code == 404


@pytest.mark.parametrize("read", READS)
async def test_anothers_execution_looks_like_an_unknown_one(
    scene: Scene, bob: httpx.AsyncClient, admin: httpx.AsyncClient, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 0.01)
    fid = await scene.finished()
    theirs = await bob.get(f"/outputs/{read}/{fid}")
    unknown = await bob.get(f"/outputs/{read}/{OLD_FID}?extended=true")

    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(fid, "F") == unknown.text.replace(OLD_FID, "F")
    assert (await admin.get(f"/outputs/{read}/{fid}")).status_code == 200


async def test_an_execution_just_accepted_is_awaited(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 30.0)
    fid = new_fid()
    asking = asyncio.create_task(alice.get(f"/outputs/status/{fid}"))
    await until(lambda: fid in scene.hub._listeners)
    await scene.begun(fid=fid)
    assert (await asking).json()["status"] == "running"


async def test_extended_waits_long_for_what_is_known_to_start(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 0.01)
    scene.mode.starting = {OLD_FID}
    asking = asyncio.create_task(alice.get(f"/outputs/status/{OLD_FID}?extended=true"))
    assert (await alice.get(f"/outputs/status/{OLD_FID}")).status_code == 404
    assert not asking.done()
    await scene.begun(fid=OLD_FID)
    assert (await asking).json()["status"] == "running"


async def test_extended_waits_for_a_run_that_is_over_before_anything_of_it_is_stored(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 0.01)
    monkeypatch.setattr(executions, "ENDED_GRACE_S", 60.0)
    fid = new_fid()
    asking = asyncio.create_task(alice.get(f"/outputs/status/{fid}?extended=true"))
    assert (await alice.get(f"/outputs/status/{fid}")).status_code == 404
    assert not asking.done()
    await scene.finished(fid=fid)
    assert (await asking).status_code == 200


async def test_a_mode_that_is_away_makes_an_old_unknown_id_unknown(scene: Scene, alice: httpx.AsyncClient) -> None:
    scene.mode.away = True
    assert (await alice.get(f"/outputs/status/{OLD_FID}?extended=true")).status_code == 404


async def test_each_stream_has_its_kinds(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    payload = '{"Markdown": {"body": "*x*"}}'
    await scene.commit(fid, *((kind.value, payload) for kind in EventKind if kind != EventKind.STATUS))
    await scene.commit(fid, ("status", "finished"))
    kinds = {}
    for stream in ("stream", "main", "stdio"):
        answer = await alice.get(f"/outputs/{stream}/{fid}")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        events = parsed(answer.content)
        assert events[-1].event == "eof" and events[-1].data == "end of stream"
        kinds[stream] = {event.event for event in events[:-1]}

    assert kinds["stream"] == {kind.value for kind in EventKind}
    results = {"action", "result", "final"}
    assert kinds["main"] == {"meta", "inputs", "agent", "status", "error", "lock", "lease", "attempt"} | results
    assert kinds["stdio"] == {"error", "stdout", "stderr", "debug", "upload", "attempt"}


async def test_payloads_are_converted_unless_raw_is_asked_for(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.finished('{"Markdown": {"body": "*x*"}}')

    async def final(url: str) -> str:
        [data] = [event.data for event in parsed((await alice.get(url)).content) if event.event == "final"]
        return data.partition(":")[2]

    assert await final(f"/outputs/main/{fid}") == "<p><em>x</em></p>"
    assert await final(f"/outputs/main/{fid}?raw=true") == '{"Markdown": {"body": "*x*"}}'
    assert await final(f"/outputs/stream/{fid}") == '{"Markdown": {"body": "*x*"}}'


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [
        ("", None, 1),
        ("?last_event_id=2", None, 3),
        ("", "3", 4),
        ("?last_event_id=1", "4", 5),
        ("", "x", 1),
        ("?last_event_id=-1", None, 1),
        ("?last_event_id=99999999999999999999", None, 1),
        ("", "7", 1),
    ],
)
async def test_a_stream_resumes_after_the_last_event_seen(
    scene: Scene, alice: httpx.AsyncClient, query: str, header: str | None, first: int
) -> None:
    fid = await scene.finished()
    headers = {"Last-Event-ID": header} if header else {}
    answer = await alice.get(f"/outputs/stream/{fid}{query}", headers=headers)

    assert [int(event.id) for event in parsed(answer.content)[:-1]] == list(range(first, 7))


async def test_before_the_end_there_is_no_result(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    for read in ("raw", "html"):
        answer = await alice.get(f"/outputs/{read}/{fid}")
        assert answer.status_code == 409 and "running" in answer.json()["detail"]


async def test_a_large_result_is_given_whole(scene: Scene, alice: httpx.AsyncClient) -> None:
    final = json.dumps({"str": "é" * 3_000_000}, ensure_ascii=False)
    fid = await scene.finished(final)

    assert (await alice.get(f"/outputs/raw/{fid}")).text == final
    assert (await alice.get(f"/outputs/status/{fid}")).json()["final"] == final
    page = (await alice.get(f"/outputs/html/{fid}")).text
    assert f'href="/outputs/raw/{fid}"' in page and len(page) < 10_000


async def test_the_document_escapes_what_others_wrote(scene: Scene, alice: httpx.AsyncClient) -> None:
    evil = "<script>alert(1)</script>"
    fid = await scene.finished(json.dumps({"HTML": {"body": f"<b>x</b>{evil}"}}), summary=evil)
    answer = await alice.get(f"/outputs/html/{fid}")

    assert "<script" not in answer.text and "<b>x</b>" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_deleting_hides_an_ended_execution(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "GRACE_S", 0.01)
    fid = await scene.finished()
    assert (await alice.delete(f"/outputs/{fid}")).status_code == 204
    assert (await alice.get(f"/outputs/status/{fid}")).status_code == 404
    assert (await scene.store.execution(fid)).archived and await scene.store.events(fid)
    assert (await alice.delete(f"/outputs/{fid}?purge=true")).status_code == 204
    assert (await alice.delete(f"/outputs/{fid}")).status_code == 404
    assert not scene.mode.cancelled


async def test_deleting_a_living_execution_ends_it_first(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    assert (await alice.delete(f"/outputs/{fid}")).status_code == 204
    execution = await scene.store.execution(fid)
    assert scene.mode.cancelled == [(fid, "alice")] and execution.archived and execution.state == "error"


async def test_a_run_that_cannot_be_reached_stays(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fid = await scene.begun()
    scene.mode.away = True
    answer = await alice.delete(f"/outputs/{fid}")
    assert answer.status_code == 503 and "Ray" in answer.json()["detail"]
    assert not (await scene.store.execution(fid)).archived


async def test_an_end_that_is_not_stored_in_time_archives_nothing(
    scene: Scene, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "END_WAIT_S", 0.01)
    fid = await scene.begun()

    async def cancel(_fid: str, by: str) -> bool:
        return False

    monkeypatch.setattr(scene.mode, "cancel", cancel)
    assert (await alice.delete(f"/outputs/{fid}")).status_code == 503
    assert not (await scene.store.execution(fid)).archived


async def test_many_are_deleted_at_once_or_none(scene: Scene, alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    fids = [await scene.begun(), await scene.finished(), await scene.finished()]

    async def delete(client: httpx.AsyncClient, body: object) -> int:
        return (await client.request("DELETE", "/outputs", json=body)).status_code

    assert await delete(bob, {"fid": fids}) == 404
    assert await delete(alice, {"fid": [*fids, OLD_FID]}) == 404
    assert await delete(alice, {"fid": [*fids, "../x"]}) == 400
    assert await delete(alice, {"fid": [new_fid()] * 1_001}) == 400
    assert await delete(alice, {"fid": "x"}) == 400
    assert not scene.mode.cancelled and await scene.store.count() == 3
    assert await delete(alice, {"fid": fids}) == 204
    assert await scene.store.count() == 0 and scene.mode.cancelled == [(fids[0], "alice")]


async def test_an_operator_may_end_anybodys_run(scene: Scene, admin: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    assert (await bob.delete(f"/outputs/{fid}")).status_code == 404
    assert (await admin.delete(f"/outputs/{fid}?purge=true")).status_code == 204
    assert scene.mode.cancelled == [(fid, "admin")]
