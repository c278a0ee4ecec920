"""A run that waits for people, whole: panel, app, runner and spooler, all real and all in this process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import Request

from kodosumi import forms as F
from kodosumi import launcher as launchers
from kodosumi.config import Settings
from kodosumi.core import InputsError, Launch, ServeAPI
from kodosumi.execution.memory import MemoryMode
from kodosumi.service.context import Panel
from kodosumi.spooler import Spooler
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.flow.apps import Source, register
from tests.unit.serve.conftest import only_launcher

BROWSER = {"Accept": "text/html"}


class KeysOf:
    """Lets an app believe one panel."""

    def __init__(self, panel: Panel) -> None:
        self._known = {panel.identity.key_id: panel.identity.public_key}

    async def keys(self, key_id: str) -> Mapping[str, bytes]:
        return self._known


def buying(panel: Panel) -> ServeAPI:
    """An app whose runs ask twice: who may follow from the launch, the second time a second person."""
    app = ServeAPI()
    app.caller_keys = KeysOf(panel)

    async def buy(inputs: dict[str, Any], tracer: Any) -> dict[str, Any]:
        amount = await tracer.lock("amount", data={"item": inputs["item"]}, assignee=inputs["whom"] or None)
        release = await tracer.lock("release", timeout=None if inputs["patient"] else 0.2, four_eyes=True)
        return {"amount": amount, "release": release}

    form = F.Model(F.InputText("item"), F.InputText("whom"), F.Checkbox("patient"), F.Submit("Buy"))

    @app.enter("/", form, summary="Buy")
    async def enter(request: Request, inputs: dict[str, Any]) -> Launch:
        return Launch(request, buy, inputs=inputs)

    @app.lock("amount")
    async def amount(data: dict[str, Any]) -> F.Model:
        return F.Model(F.Markdown(f"# {data['item']}"), F.InputNumber("amount", label="Amount"), F.Submit("Yes"))

    @app.lease("amount")
    def pay(inputs: dict[str, Any]) -> int:
        if int(inputs["amount"]) > 10:
            raise InputsError(amount="Too much.")
        return int(inputs["amount"])

    @app.lock("release")
    async def release() -> F.Model:
        return F.Model(F.Checkbox("yes", option="Yes"), F.Submit("Go"))

    return app


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport(uuid.uuid4().hex)


@pytest.fixture
async def source(
    panel: Panel, transport: MemoryTransport, admin: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Source]:
    """The app, registered, with a spooler that stores what its runs tell."""
    launcher = only_launcher()
    mode = MemoryMode(transport)
    monkeypatch.setattr(launcher, "mode", mode)
    monkeypatch.setattr(launchers, "_launcher_of", lambda pid: launcher)
    settings = Settings(execution_mode="memory", event_transport="memory", _env_file=None)
    spooler = Spooler(settings, store=panel.store, transport=transport, mode=panel.mode)
    spooling = asyncio.create_task(spooler.run())
    source: Source = await serve(buying(panel))
    await register(admin, source.openapi)
    yield source
    for fid in list(mode._runs):
        await launcher.ask(mode.cancel(fid, "the test's end"))
    spooler.stop()
    await spooling


async def launched(user: Any, panel: Panel, source: Source, **inputs: str) -> str:
    """A run by the form's page; the panel counts it among what lives."""
    answer = await user.post(f"/inputs{source.place}/", data={"item": "Chair", "whom": "", **inputs})
    assert answer.status_code == 302, answer.text
    fid = str(answer.headers["location"].rpartition("/")[2])
    panel.mode.living.add(fid)  # type: ignore[attr-defined]
    return fid


async def locks_of(user: Any, fid: str, number: int, state: str = "open") -> list[dict[str, Any]]:
    async def listed() -> list[dict[str, Any]]:
        return [lock for lock in (await user.get(f"/lock/{fid}")).json() if lock["state"] == state]

    return await until(listed, lambda locks: len(locks) == number)


async def state_of(user: Any, fid: str, state: str) -> dict[str, Any]:
    async def status() -> dict[str, Any]:
        return dict((await user.get(f"/outputs/status/{fid}")).json())

    return await until(status, lambda status: status.get("status") == state)


@pytest.mark.usefixtures("patient")
async def test_a_run_is_answered_by_form_and_by_json_each_by_who_may(
    panel: Panel, alice: Any, bob: Any, admin: Any, source: Source
) -> None:
    fid = await launched(alice, panel, source, whom="bob", patient="on")
    [lock] = await locks_of(alice, fid, 1)
    assert (lock["name"], lock["assignee"], lock["may_answer"]) == ("amount", ["bob"], False)
    assert (await state_of(alice, fid, "awaiting"))["locks"] == [lock["lid"]]
    page = f"/inputs/lock/{fid}/{lock['lid']}"
    assert "Chair" in (await bob.get(page, headers=BROWSER)).text
    assert "Too much." in (await bob.post(page, data={"amount": "11"}, headers=BROWSER)).text
    assert (await bob.post(page, data={"amount": "7"}, headers=BROWSER)).headers["location"] == page
    assert "You answered" in (await bob.get(page, headers=BROWSER)).text

    [lock] = await locks_of(alice, fid, 1)
    path = f"/lock/{fid}/{lock['lid']}"
    assert (await bob.post(path, json={"yes": True})).status_code == 404
    assert (await alice.post(path, json={"yes": True})).status_code == 403
    answer = await admin.post(path, json={"yes": True, "more": 1})
    assert (answer.status_code, answer.json()["result"]) == (200, {"yes": True, "more": 1})
    final = (await state_of(alice, fid, "finished"))["final"]
    assert final == '{"dict": {"amount": 7, "release": {"yes": true, "more": 1}}}'
    assert [lock["by_name"] for lock in await locks_of(alice, fid, 2, "answered")] == ["bob", "admin"]


@pytest.mark.usefixtures("patient")
async def test_answers_at_the_same_instant_one_is_taken_and_the_others_are_told_whose(
    panel: Panel, alice: Any, admin: Any, source: Source
) -> None:
    fid = await launched(alice, panel, source, patient="on")
    [lock] = await locks_of(alice, fid, 1)
    path = f"/lock/{fid}/{lock['lid']}"
    users = {"alice": alice, "admin": admin}
    names = ["alice", "admin"] * 4
    answers = await asyncio.gather(*(users[name].post(path, json={"amount": 1}) for name in names))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] + [409] * 7
    winner = names[statuses.index(200)]
    for answer in answers:
        if answer.status_code == 409:
            assert f"already answered by {winner} at" in answer.json()["detail"]


async def test_a_lock_that_expires_closes_and_takes_no_answer(
    panel: Panel, alice: Any, admin: Any, source: Source
) -> None:
    fid = await launched(alice, panel, source)
    [lock] = await locks_of(alice, fid, 1)
    assert (await alice.post(f"/lock/{fid}/{lock['lid']}", json={"amount": 1})).status_code == 200
    [expired] = await locks_of(alice, fid, 1, "expired")
    late = await admin.post(f"/lock/{fid}/{expired['lid']}", json={})
    assert (late.status_code, "It expired at" in late.json()["detail"]) == (409, True)
    assert "expired" in (await state_of(alice, fid, "error"))["final"]


async def test_nobody_answers_at_the_app_itself(panel: Panel, alice: Any, client: Any, source: Source) -> None:
    fid = await launched(alice, panel, source)
    [lock] = await locks_of(alice, fid, 1)
    async with httpx.AsyncClient(base_url=source.url, timeout=60) as stranger:
        for headers in ({}, {"x-kodosumi_user": alice.id, "x-kodosumi-user": alice.id}):
            for method in ("GET", "POST"):
                answer = await stranger.request(
                    method, f"/_lock_/{fid}/{lock['lid']}", json={"amount": 1}, headers=headers
                )
                assert answer.status_code == 403, answer.text
    assert await locks_of(alice, fid, 1)
