"""An app of ``ServeAPI`` behind the real panel: a form with files starts a run, and its lock takes files as well.

Panel and app are served; the run, its spooler and the store live in this process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from kodosumi import forms as F
from kodosumi.core import InputsError, Launch
from kodosumi.serve import ServeAPI
from kodosumi.service.context import Panel
from tests.conditions import until
from tests.integration.panel.flow.apps import Source
from tests.integration.service.files.uploading import uploaded


async def reads_and_asks(inputs: dict[str, Any], tracer: Any) -> Any:
    async with await tracer.fs() as files:
        before = {file["path"]: (await files.open(file["path"]).read_all()).decode() for file in await files.ls("in")}
        answer = await tracer.lock("more", {"have": sorted(before)})
        after = sorted(file["path"] for file in await files.ls("in"))
    return {"before": before, "answer": sorted(answer["files"] or ()), "after": after}


def app_with_files(panel: Panel) -> ServeAPI:
    class Keys:
        async def keys(self, key_id: str) -> Mapping[str, bytes]:
            return {panel.identity.key_id: panel.identity.public_key}

    app = ServeAPI()
    app.caller_keys = Keys()
    form = F.Model(F.InputFiles("one"), F.InputFiles("many", multiple=True), F.InputText("text"), F.Submit("go"))
    more = F.Model(F.InputFiles("files", required=True), F.InputText("word"), F.Submit("go"))

    @app.enter("/", form, summary="Files")
    def enter(request: Any, inputs: dict[str, Any]) -> Any:
        if inputs["text"] == "bad":
            raise InputsError(text="no")
        return Launch(request, reads_and_asks)

    app.lock("more")(lambda: more)

    @app.lease("more")
    def lease(inputs: dict[str, Any]) -> Any:
        if inputs["word"] == "bad":
            raise InputsError(word="no")
        return inputs

    return app


@pytest.fixture
async def source(panel: Panel, registered: Any) -> Source:
    """The app, registered; what it launches runs here."""
    source: Source = await registered(app_with_files(panel))
    return source


async def listed(client: httpx.AsyncClient, files: dict[str, str]) -> str:
    """Uploads files as one batch; gives what a form carries for them."""
    batch = (await client.post("/files/init_batch")).json()["batch_id"]
    items = {}
    for name, text in files.items():
        began = await uploaded(client, name, text.encode(), batch=batch)
        items[began["upload_id"]] = {"filename": name, "totalChunks": began["total_chunks"]}
    return json.dumps({"batchId": batch, "items": items, "name": "f"})


async def test_files_of_a_form_and_of_a_lock_reach_their_run(alice: Any, source: Source, panel: Panel) -> None:
    one, many = await listed(alice, {"ä.txt": "first, in several chunks"}), await listed(alice, {"b": "2", "c": ""})
    values = {"one": one, "many": many}
    assert (await alice.post(f"{source.place}/", json={**values, "text": "bad"})).json()["errors"]["text"] == ["no"]
    fid = (await alice.post(f"{source.place}/", json=values)).json()["result"]
    execution = await until(lambda: panel.store.execution(fid), lambda found: found.locks)
    assert execution.username == alice.id
    lock = f"/lock/{fid}/{execution.locks[0]}"
    assert (await alice.get(lock)).json()[0]["name"] == "files"
    more = await listed(alice, {"d.txt": "4"})
    assert "files" in (await alice.post(lock, json={})).json()["errors"]
    assert "word" in (await alice.post(lock, json={"files": more, "word": "bad"})).json()["errors"]
    assert (await alice.post(lock, json={"files": more})).json()["result"]["files"] == ["d.txt"]
    ended = await until(lambda: panel.store.execution(fid), lambda found: found.state.terminal)
    assert ended.state == "finished"
    assert (await alice.get(f"/outputs/raw/{fid}")).json()["dict"] == {
        "before": {"in/b": "2", "in/c": "", "in/ä.txt": "first, in several chunks"},
        "answer": ["d.txt"],
        "after": ["in/b", "in/c", "in/d.txt", "in/ä.txt"],
    }
    told = [event for event in await panel.store.events(fid) if event.kind == "upload"]
    assert [file["path"] for file in json.loads(told[0].payload)["Upload"]["files"]] == ["in/b", "in/c", "in/ä.txt"]


async def test_uploads_of_another_or_incomplete_ones_start_no_run(alice: Any, bob: Any, source: Source) -> None:
    stolen = await listed(alice, {"a.txt": "mine"})
    answer = await bob.post(f"{source.place}/", json={"one": stolen})
    assert answer.status_code == 400 and "a.txt" in answer.json()["detail"]
    incomplete = stolen.replace('"totalChunks": 1', '"totalChunks": 2')
    answer = await alice.post(f"{source.place}/", json={"one": incomplete})
    assert answer.status_code == 400 and "was begun with 1 chunks" in answer.json()["detail"]
    # What failed took nothing away.
    assert (await alice.post(f"{source.place}/", json={"one": stolen})).status_code == 200


async def test_only_the_panels_own_way_leads_to_an_answer(alice: Any, source: Source, panel: Panel) -> None:
    fid = (await alice.post(f"{source.place}/", json={})).json()["result"]
    execution = await until(lambda: panel.store.execution(fid), lambda found: found.locks)
    path = f"/_lock_/{fid}/{execution.locks[0]}"
    async with httpx.AsyncClient(base_url=source.url, timeout=60) as direct:
        for method in ("GET", "POST"):
            assert (await direct.request(method, path)).status_code == (403 if method == "GET" else 400)
        assert (await direct.post(path, json={})).status_code == 403
    assert (await alice.post(f"{source.place}{path}", json={})).status_code == 403
    answer = await alice.post(f"/lock/{fid}/{execution.locks[0]}", json={"files": await listed(alice, {"x": "1"})})
    assert answer.status_code == 200
    await until(lambda: panel.store.execution(fid), lambda found: found.state.terminal)
