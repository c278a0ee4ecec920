"""The published calls that upload: their shapes, their statuses, and who may."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import httpx
import pytest

from kodosumi.events import new_fid
from kodosumi.service.context import Panel
from tests.integration.panel.flow.test_grants import granted_at
from tests.integration.service.files.conftest import Begin
from tests.integration.service.files.uploading import chunk, uploaded

CONTENT = bytes(range(256)) * 4


async def test_a_file_travels_in_chunks_and_is_listed_and_read(alice: Any, run: str) -> None:
    batch = (await alice.post("/files/init_batch")).json()["batch_id"]
    begun = await alice.post("/files/init", json={"filename": "sub/a.bin", "total_chunks": 3, "batch_id": batch})
    assert begun.status_code == 201
    assert begun.json().keys() == {"upload_id", "batch_id"} and begun.json()["batch_id"] == batch
    upload_id = begun.json()["upload_id"]
    for received, number in enumerate((2, 0, 1), 1):
        answer = await chunk(alice, upload_id, number, CONTENT[number * 400 : number * 400 + 400])
        assert answer.status_code == 201
        assert answer.json() == {"status": "chunk received", "chunk_number": number, "received_chunks": received}
    body = {"upload_id": upload_id, "filename": "sub/a.bin", "total_chunks": 3, "batch_id": batch, "fid": run}
    done = await alice.post("/files/complete/in", json=body)
    assert done.status_code == 201
    assert done.json() == {
        "status": "upload complete",
        "completion_id": done.json()["completion_id"],
        "batch_id": batch,
        "final_file": "sub/a.bin",
        "final_path": "in/sub/a.bin",
    }
    listed = (await alice.get(f"/files/{run}/in")).json()
    assert [(file["path"], file["size"]) for file in listed] == [("in/sub/a.bin", 1024)]
    assert listed[0].keys() == {"path", "size", "last_modified"}
    assert (await alice.get(f"/files/{run}/in/sub/a.bin")).content == CONTENT
    again = await alice.post("/files/complete/in", json=body)
    assert (again.status_code, again.json()) == (201, done.json())


async def test_an_interrupted_upload_tells_which_chunks_it_has(alice: Any, bob: Any) -> None:
    begun = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 3})).json()
    await chunk(alice, begun["upload_id"], 2, b"x")
    state = await alice.get(f"/files/upload/{begun['upload_id']}")
    assert state.json() == {**begun, "filename": "a", "total_chunks": 3, "chunks": [2]}
    assert (await bob.get(f"/files/upload/{begun['upload_id']}")).status_code == 404


@pytest.mark.parametrize("place", ["header", "field"])
async def test_a_chunk_that_does_not_match_its_checksum_is_not_kept(alice: Any, place: str) -> None:
    upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 1})).json()["upload_id"]
    for content, status in ((b"wrong", 400), (b"right", 201)):
        checksum = {"x-checksum-sha256": hashlib.sha256(b"right").hexdigest()}
        more: dict[str, Any] = {"headers": checksum} if place == "header" else {"fields": checksum}
        answer = await chunk(alice, upload_id, 0, content, **more)
        assert answer.status_code == status, answer.text
        kept = (await alice.get(f"/files/upload/{upload_id}")).json()["chunks"]
        assert kept == ([0] if status == 201 else [])


async def test_a_batch_is_completed_into_a_run_with_its_key(
    alice: Any, client: httpx.AsyncClient, panel: Panel
) -> None:
    batch = (await alice.post("/files/init_batch")).json()["batch_id"]
    bodies = [await uploaded(alice, name, CONTENT, 300, batch) for name in ("a.txt", "b/c.txt", "b/d.txt")]
    items = {body["upload_id"]: {"filename": body["filename"], "totalChunks": 4} for body in bodies}
    fid = new_fid()
    key = {"KODOSUMI_API_KEY": panel.identity.grant(alice.id, fid, launches=True)}
    done = await client.post(f"/files/complete/{fid}/{batch}/in", json=items, headers=key)
    assert done.status_code == 201, done.text
    assert [each["final_path"] for each in done.json()] == ["in/a.txt", "in/b/c.txt", "in/b/d.txt"]
    listed = (await client.get(f"/files/{fid}/in", headers=key)).json()
    assert [file["path"] for file in listed] == ["in/a.txt", "in/b/c.txt", "in/b/d.txt"]
    assert (await client.get(f"/files/{fid}/in/b/c.txt", headers=key)).content == CONTENT
    cookie = {"Cookie": f"kodosumi_jwt={key['KODOSUMI_API_KEY']}"}
    assert (await client.get(f"/files/{fid}/in/b/c.txt", headers=cookie)).content == CONTENT


async def test_a_batch_with_faults_names_them_and_puts_nothing_in_place(alice: Any, run: str) -> None:
    batch = (await alice.post("/files/init_batch")).json()["batch_id"]
    whole = await uploaded(alice, "whole.txt", CONTENT, 2_000, batch)
    half = (await alice.post("/files/init", json={"filename": "half", "total_chunks": 2, "batch_id": batch})).json()

    async def completed(batch: str = batch, **items: Any) -> httpx.Response:
        named = {key: {"filename": name, "totalChunks": total} for key, (name, total) in items.items()}
        answer: httpx.Response = await alice.post(f"/files/complete/{run}/{batch}/in", json=named)
        return answer

    good = {whole["upload_id"]: ("whole.txt", 1)}
    for status, items in (
        (400, good | {half["upload_id"]: ("half", 2)}),
        (404, good | {"0" * 32: ("unknown", 2)}),
        (404, {"0" * 32: ("unknown", 2)}),
        (400, {whole["upload_id"]: ("whole.txt", 2)}),
        (400, good | {half["upload_id"]: ("whole.txt", 2)}),
        (400, good | {half["upload_id"]: ("whole.txt/x", 2)}),
        (400, {whole["upload_id"]: ("../x", 1)}),
    ):
        answer = await completed(**items)
        assert answer.status_code == status, answer.text
    assert "half" in (await completed(**(good | {half["upload_id"]: ("half", 2)}))).json()["detail"]
    assert (await completed("another", **good)).status_code == 400
    assert (await alice.get(f"/files/{run}/in")).json() == []
    assert (await completed(**good)).status_code == 201


async def test_completing_without_a_run_only_checks_the_upload(alice: Any, run: str) -> None:
    body = await uploaded(alice, "a.txt", CONTENT, 300)
    sealed = await alice.post("/files/complete/in", json=body)
    assert sealed.status_code == 201 and sealed.json()["final_path"] == "in/a.txt"
    assert (await alice.post("/files/complete/in", json=body | {"total_chunks": 5})).status_code == 400
    assert (await alice.post("/files/complete/in", json=body | {"fid": run})).status_code == 201


async def test_two_completes_at_once_make_one_file(alice: Any, run: str) -> None:
    body = await uploaded(alice, "a.txt", CONTENT, 100) | {"fid": run}
    answers = await asyncio.gather(*(alice.post("/files/complete/out", json=body) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len((await alice.get(f"/files/{run}/out")).json()) == 1


async def test_a_cancelled_upload_is_unknown(alice: Any, bob: Any) -> None:
    body = await uploaded(alice, "a.txt", CONTENT, 300)
    path = f"/files/cancel/{body['upload_id']}"
    assert (await bob.delete(path)).status_code == 404
    assert [(await alice.delete(path)).status_code for _ in range(2)] == [204, 404]
    assert (await chunk(alice, body["upload_id"], 0, b"x")).status_code == 404


async def test_only_who_may_puts_files_into_a_run(
    alice: Any, bob: Any, admin: Any, client: httpx.AsyncClient, panel: Panel, run: str, begin: Begin
) -> None:
    async def status(who: httpx.AsyncClient, fid: str, **more: Any) -> int:
        begun = await who.post("/files/init", json={"filename": "a", "total_chunks": 0}, **more)
        if begun.status_code != 201:
            return begun.status_code
        body = {"filename": "a", "total_chunks": 0, "fid": fid, **begun.json()}
        one = await who.post("/files/complete/in", json=body, **more)
        several = await who.post(f"/files/complete/{fid}/b/in", json={}, **more)
        assert (one.status_code == 201) == (several.status_code == 201)
        return one.status_code

    assert await status(alice, run) == 201
    assert await status(admin, run) == 201
    assert await status(bob, run) == 404
    assert await status(alice, new_fid()) == 404
    mine = {"KODOSUMI_API_KEY": panel.identity.grant(bob.id, run, launches=False)}
    other = {"KODOSUMI_API_KEY": panel.identity.grant(alice.id, await begin(alice.id), launches=True)}
    over = await begin(alice.id, "starting", "finished")
    dead = {"KODOSUMI_API_KEY": granted_at(1e9, panel, alice.id, new_fid(1e9))}
    assert await status(client, run, headers=mine) == 201
    assert await status(client, run, headers=other) == 404
    assert await status(client, over, headers=other) == 404
    assert await status(client, run, headers=dead) == 401
    assert await status(alice, over) == 201


async def test_a_run_of_somebody_elses_gets_its_files_in_its_owners_folder(
    alice: Any, bob: Any, client: httpx.AsyncClient, panel: Panel, run: str
) -> None:
    key = {"KODOSUMI_API_KEY": panel.identity.grant(bob.id, run, launches=False)}
    body = await uploaded(bob, "answer.txt", b"yes", 3)
    done = await client.post("/files/complete/in", json=body, headers=key)
    assert done.status_code == 201, done.text
    assert [file.path for file in await panel.files.list(f"{alice.id}/{run}/in")] == ["answer.txt"]
    assert (await alice.get(f"/files/{run}/in/answer.txt")).text == "yes"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/files/init", {"filename": "a"}),
        ("/files/init", {"filename": "a", "total_chunks": -1}),
        ("/files/init", {"filename": "a", "total_chunks": 1e9}),
        ("/files/init", {"filename": "a", "total_chunks": "x"}),
        ("/files/init", {"filename": "a", "total_chunks": 1, "batch_id": "../b"}),
        ("/files/init", {"filename": "", "total_chunks": 1}),
        ("/files/init", []),
        ("/files/complete/in", {"upload_id": "x"}),
        ("/files/complete/other", {"upload_id": "x", "filename": "a", "total_chunks": 1}),
        ("/files/complete/65a0000000000000000000aa/b/other", {}),
        ("/files/complete/65a0000000000000000000aa/b/in", {"x": {"filename": "a"}}),
        ("/files/complete/65a0000000000000000000aa/b/in", {"x": 3}),
        ("/files/chunk", {"upload_id": "x"}),
    ],
)
async def test_what_cannot_be_understood_is_a_400_that_says_why(alice: Any, path: str, body: Any) -> None:
    answer = await alice.post(path, json=body)
    assert answer.status_code == 400 and answer.json()["detail"], answer.text


@pytest.mark.parametrize("key", ["upload_id", "filename", "batch_id", "fid"])
@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "\\u202e", "x" * 5_000])
async def test_no_text_in_a_body_breaks_an_answer(alice: Any, run: str, key: str, text: str) -> None:
    body = {"upload_id": "0" * 32, "filename": "a", "total_chunks": 1, "batch_id": "b", "fid": run, key: "TEXT"}
    content = json.dumps(body).replace("TEXT", text)
    for path in ("/files/init", "/files/complete/in"):
        if path == "/files/init" and key in ("upload_id", "fid"):
            continue
        answer = await alice.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 404), answer.text


async def test_a_chunk_by_cookie_must_come_from_the_panels_pages_every_time(alice: Any) -> None:
    upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 1})).json()["upload_id"]
    for site, status in (("same-origin", 201), ("cross-site", 403), ("same-origin", 201), ("cross-site", 403)):
        answer = await chunk(alice, upload_id, 0, b"x", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status


async def test_who_logged_out_sends_no_more_chunks(alice: Any) -> None:
    upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 1})).json()["upload_id"]
    assert (await chunk(alice, upload_id, 0, b"x")).status_code == 201
    await alice.post("/logout")
    key = {"KODOSUMI_API_KEY": alice.key}
    assert (await chunk(alice, upload_id, 0, b"x", headers=key)).status_code == 401


async def test_a_disabled_role_sends_no_more_chunks(admin: Any, alice: Any) -> None:
    upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 1})).json()["upload_id"]
    key = {"KODOSUMI_API_KEY": alice.key}
    assert (await chunk(alice, upload_id, 0, b"x", headers=key)).status_code == 201
    await admin.put(f"/role/{alice.id}", json={"active": False})
    assert (await chunk(alice, upload_id, 0, b"x", headers=key)).status_code == 401


async def test_chunks_that_cannot_be_understood_are_refused(alice: Any) -> None:
    upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 2})).json()["upload_id"]
    for number in ("-1", "x", "", "3", "1e3", "٣", "9" * 40):
        answer = await chunk(alice, upload_id, number, b"x")  # type: ignore[arg-type]
        assert answer.status_code == 400, (number, answer.text)
    form = {"files": {"chunk": ("blob", b"x")}}
    assert (await alice.post("/files/chunk", data={"chunk_number": "0"}, **form)).status_code == 400
    assert (await alice.post("/files/chunk", data={"upload_id": upload_id}, **form)).status_code == 400
    assert (await alice.post("/files/chunk", content=b"x")).status_code == 400
    assert (await alice.get(f"/files/upload/{upload_id}")).json()["chunks"] == []


class TestLimits:
    @pytest.fixture
    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"save_chunk_size": 1_000, "upload_quota": 5_000}

    async def test_a_chunk_above_the_limit_is_refused_and_one_at_it_is_not(self, alice: Any) -> None:
        upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 2})).json()["upload_id"]
        assert (await chunk(alice, upload_id, 0, bytes(1_000))).status_code == 201
        for size in (1_001, 200_000):
            answer = await chunk(alice, upload_id, 1, bytes(size))
            assert answer.status_code == 413 and "KODO_SAVE_CHUNK_SIZE" in answer.json()["detail"]

    async def test_a_real_server_says_so_too_before_it_has_read_it_all(self, alice: Any, address: str) -> None:
        upload_id = (await alice.post("/files/init", json={"filename": "a", "total_chunks": 2})).json()["upload_id"]
        async with httpx.AsyncClient(base_url=address, headers={"KODOSUMI_API_KEY": alice.key}, timeout=60) as real:
            answer = await chunk(real, upload_id, 0, bytes(5_000_000))
            assert answer.status_code == 413
            assert (await chunk(real, upload_id, 0, bytes(1_000))).status_code == 201

    async def test_a_user_beyond_the_quota_is_told_so_and_nobody_else(self, alice: Any, bob: Any) -> None:
        for user in (alice, bob):
            upload = (await user.post("/files/init", json={"filename": "a", "total_chunks": 9})).json()
            statuses = [
                (await chunk(user, upload["upload_id"], number, bytes(1_000))).status_code for number in range(6)
            ]
            assert statuses == [201] * 5 + [413]
            detail = (await chunk(user, upload["upload_id"], 5, bytes(1_000))).json()["detail"]
            assert "KODO_UPLOAD_QUOTA" in detail
            await user.delete(f"/files/cancel/{upload['upload_id']}")
            await uploaded(user, "b", bytes(5_000), 1_000)
