"""``/timeline``: pages, changes and their cursors."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest

from kodosumi.events import new_fid
from kodosumi.service.timeline_item import iso_time

from .scene import BOB, Scene


async def test_an_item_has_the_published_fields(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.finished()
    [item] = (await alice.get("/timeline/list")).json()["items"]

    assert item["fid"] == fid and item["summary"] == "My app" and item["tags"] == ["x"] and item["locks"] == []
    assert item["inputs"] == {"dict": {"n": 1}} and item["status"] == "finished" and item["runtime"] >= 0
    for name in ("startup", "finish"):
        offset = datetime.fromisoformat(item[name]).utcoffset()
        assert offset is not None and not offset
    assert set(item) == {"fid", "tags", "summary", "inputs", "status", "startup", "finish", "runtime", "locks"}


async def test_pages_cover_everything_once(scene: Scene, alice: httpx.AsyncClient) -> None:
    fids = [await scene.begun(fid=new_fid(1.7e9 + number)) for number in range(23)]
    for url in ("/timeline/list", "/timeline"):
        seen: list[str] = []
        offset: str | None = ""
        while offset is not None:
            page = (await alice.get(url, params={"pp": 5, "offset": offset})).json()
            rows = page["items"] if url.endswith("list") else page["items"]["append"]
            assert len(rows) <= 5
            seen += [row["fid"] for row in rows]
            offset = page["offset"]
        assert seen == sorted(fids, reverse=True)


async def test_a_user_sees_their_own_and_an_operator_all(
    scene: Scene, alice: httpx.AsyncClient, bob: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    hers, his = await scene.finished(), await scene.finished(user=BOB)
    for client, fids in ((alice, {hers}), (bob, {his}), (admin, {hers, his})):
        listed = (await client.get("/timeline/list")).json()["items"]
        page = (await client.get("/timeline")).json()
        changes = (await client.get("/timeline/changes", params={"since": 1})).json()
        assert {item["fid"] for item in listed} == {item["fid"] for item in page["items"]["append"]} == fids
        assert {item["fid"] for item in changes["update"]} == fids and page["total"] == len(fids)


async def test_a_search_finds_and_says_what_it_searched(scene: Scene, alice: httpx.AsyncClient) -> None:
    fid = await scene.finished(summary="Prime Gaps")
    await scene.finished(summary="Other")
    answer = (await alice.get("/timeline/list", params={"q": "prime g"})).json()

    assert [item["fid"] for item in answer["items"]] == [fid] and answer["query"] == "prime g"


async def test_an_update_tells_what_is_new_changed_and_gone(scene: Scene, alice: httpx.AsyncClient) -> None:
    changing, leaving = await scene.begun(), await scene.finished()
    state = (await alice.get("/timeline")).json()

    async def update() -> dict[str, list[str]]:
        nonlocal state
        params = {"mode": "update", "origin": state["origin"], "timestamp": state["timestamp"]}
        state = (await alice.get("/timeline", params=params)).json()
        return {
            name: [row if isinstance(row, str) else row["fid"] for row in rows] for name, rows in state["items"].items()
        }

    await update()
    new = await scene.begun()
    await scene.commit(changing, ("status", "finished"))
    await scene.store.archive(leaving)

    assert await update() == {"append": [], "insert": [new], "update": [changing], "delete": [leaving]}
    assert state["origin"] == new
    assert await update() == {"append": [], "insert": [], "update": [], "delete": []}


async def test_many_changes_come_in_several_answers_and_none_is_lost(scene: Scene, alice: httpx.AsyncClient) -> None:
    start = (await alice.get("/timeline/changes")).json()["timestamp"]
    fids = {await scene.begun() for _ in range(450)}
    seen: set[str] = set()
    since = start
    while rows := (answer := (await alice.get("/timeline/changes", params={"since": since})).json())["update"]:
        assert len(rows) <= 200
        seen |= {row["fid"] for row in rows}
        since = answer["timestamp"]
    assert seen == fids


async def test_a_huge_page_is_cut_to_the_largest(scene: Scene, alice: httpx.AsyncClient) -> None:
    for _ in range(120):
        await scene.begun()
    for pp in ("100000", "9" * 30):
        assert len((await alice.get("/timeline/list", params={"pp": pp})).json()["items"]) == 100


@pytest.mark.parametrize(
    "query",
    ["offset=x", "offset=../..", "origin=x", "timestamp=x", "timestamp=nan", "timestamp=inf", f"offset={'A' * 24}"],
)
async def test_a_broken_cursor_is_a_bad_request(alice: httpx.AsyncClient, query: str) -> None:
    answer = await alice.get(f"/timeline?{query}")
    assert answer.status_code == 400 and query.partition("=")[0] in answer.json()["detail"]


async def test_a_broken_since_or_page_size_is_refused(alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/timeline/changes?since=x")).status_code == 400
    assert (await alice.get("/timeline/list?offset=x")).status_code == 400
    for query in ("pp=0", "pp=-1", "pp=x", "mode=x", f"q={'x' * 501}"):
        assert (await alice.get(f"/timeline?{query}")).status_code == 400


def test_a_time_that_no_calendar_has_is_no_time() -> None:
    assert iso_time(1e300) is None and iso_time(None) is None and iso_time(0.0) is None
    assert iso_time(1.7e9) == "2023-11-14T22:13:20+00:00"
