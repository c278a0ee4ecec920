"""What a notice says: who, which run, which lock, where to look; nothing that users or runs put in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kodosumi.events import EventKind
from kodosumi.identity import ANONYMOUS
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.webhook.message import message_of
from tests.unit.store.histories import FAILED, FINISHED, OWNER, begun, event, meta

PANEL = "https://panel.example.com"
LOCK = {"name": "approve", "lid": "a/b", "data": "hidden", "expires": 2_000.5, "assignee": ["boss"], "four_eyes": True}


def lock(**values: Any) -> Any:
    return event(EventKind.LOCK, json.dumps({"dict": LOCK | values}), 1_005.0)


async def messages(store: MemoryExecutionStore, app_server: str = "http://localhost:3370/") -> list[dict[str, Any]]:
    bodies = [await message_of(store, notice, app_server) for notice in sorted(await store.notices(10, 60))]
    return [json.loads(body) for body in bodies if body is not None]


async def test_a_lock_is_told_with_where_to_answer_it(store: MemoryExecutionStore) -> None:
    fid = await begun(store, meta(summary="Prüfung 💶", panel_url=f"{PANEL}/"), lock())
    assert await messages(store) == [
        {
            "id": f"{fid}-3",
            "event": "lock",
            "fid": fid,
            "username": OWNER,
            "summary": "Prüfung 💶",
            "timestamp": 1_005.0,
            "url": f"{PANEL}/admin/status/view/{fid}",
            "lock": {
                "lid": "a/b",
                "name": "approve",
                "expires": 2_000.5,
                "assignee": ["boss"],
                "url": f"{PANEL}/inputs/lock/{fid}/a%2Fb",
            },
        }
    ]


@pytest.mark.parametrize(("end", "name"), [(FINISHED, "finished"), (FAILED, "error")])
async def test_an_end_is_told_without_what_the_run_said(store: MemoryExecutionStore, end: Any, name: str) -> None:
    said = [event(kind, '{"dict": {"x": "hidden"}}') for kind in (EventKind.INPUTS, EventKind.FINAL, EventKind.ERROR)]
    fid = await begun(store, *said, end)
    (message,) = await messages(store)
    assert (message["id"], message["event"], message["lock"]) == (f"{fid}-5", name, None)
    assert message["timestamp"] == 1_009.0 and message["summary"] is None
    assert "hidden" not in json.dumps(message)


@pytest.mark.parametrize("told", [None, "", "javascript:alert(1)", 7, "https://" + "x" * 999])
async def test_a_panel_that_is_no_address_is_the_one_of_the_settings(store: MemoryExecutionStore, told: object) -> None:
    fid = await begun(store, meta(panel_url=told), FINISHED)
    assert (await messages(store))[0]["url"] == f"http://localhost:3370/admin/status/view/{fid}"


async def test_whom_no_panel_vouches_for_does_not_say_where_the_panel_is(store: MemoryExecutionStore) -> None:
    await begun(store, meta(panel_url="https://phishing.example"), FINISHED, username=ANONYMOUS)
    assert (await messages(store))[0]["url"].startswith("http://localhost:3370/")


@pytest.mark.parametrize("payload", ["", "[]", '{"dict": []}', '{"dict": {"lid": 3}}', "[" * 100_000])
async def test_a_lock_event_that_tells_of_no_lock_is_not_told(store: MemoryExecutionStore, payload: str) -> None:
    await begun(store, event(EventKind.LOCK, payload))
    assert await messages(store) == []


async def test_whatever_a_lock_says_of_itself_the_message_is_json_and_bounded(store: MemoryExecutionStore) -> None:
    odd = {"name": {"x": "y" * 9_999}, "expires": float("inf"), "assignee": [None, 3, "\ud800", *"z" * 9_999]}
    await begun(store, lock(**odd), meta(summary=["s" * 9_999]))
    (message,) = await messages(store)
    assert message["lock"]["expires"] is None and len(json.dumps(message)) < 9_999


async def test_what_was_removed_is_not_told(store: MemoryExecutionStore) -> None:
    fid = await begun(store, FINISHED)
    (notice,) = await store.notices(10, 60)
    await store.purge(fid)
    assert await message_of(store, notice, PANEL) is None
