"""``/lock``: who may see and answer a lock, what the app is asked, and what comes of it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse

from kodosumi.const import KODOSUMI_API_KEY
from kodosumi.events import new_fid
from kodosumi.identity import GRANT_HEADER, TOKEN_HEADER
from kodosumi.service.app import create_app
from kodosumi.service.context import Panel
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.flow.apps import Source
from tests.integration.panel.flow.lock_app import FORM, Waiting

YES = {"comment": "fine", "approve": "on"}


def place(run: Waiting, lid: str) -> str:
    return f"/lock/{run.fid}/{lid}"


async def test_the_owner_gets_the_form_and_gives_the_answer(alice: Any, run: Waiting, source: Source) -> None:
    lid = await run.lock()
    shown = await alice.get(place(run, lid))
    assert (shown.status_code, shown.json()) == (200, FORM.get_model())
    answer = await alice.post(place(run, lid), json=YES)
    assert (answer.status_code, answer.json()["result"]) == (200, YES)
    assert source.app.state.answers == [YES]


async def test_what_the_form_refuses_leaves_the_lock_open(alice: Any, run: Waiting, source: Source) -> None:
    lid = await run.lock()
    answer = await alice.post(place(run, lid), json={})
    assert answer.status_code == 200
    assert answer.json()["errors"] == {"comment": ["Say <why>."], "_global_": []}
    assert (await alice.post(place(run, lid), json=YES)).status_code == 200


async def test_curl_without_a_content_type_is_passed_on_as_it_is(alice: Any, run: Waiting) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await alice.post(place(run, await run.lock()), content=b'{"comment": "x"}', headers=headers)
    assert answer.json()["result"] == {"comment": "x"}


async def test_the_app_is_told_who_answers_and_gets_the_key_of_that_run(
    panel: Panel, admin: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock()
    forged = {GRANT_HEADER: "forged", "x-kodosumi_user": "forged"}
    await admin.get(place(run, lid))
    await admin.post(place(run, lid), json=YES, headers=forged)
    for headers in source.app.state.seen:
        assert headers.getlist("x-kodosumi_user") == [admin.id]
        assert headers[TOKEN_HEADER]
        grant = panel.identity.granted(headers[GRANT_HEADER])
        assert grant is not None
        assert (grant.fid, grant.username, grant.launches) == (run.fid, admin.id, False)
        assert "cookie" not in headers


async def test_a_lock_is_its_owners_and_operators_business_alone(
    client: Any, alice: Any, bob: Any, admin: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock()
    for method in ("GET", "POST"):
        assert (await client.request(method, place(run, lid), json=YES)).status_code == 401
        other = await bob.request(method, place(run, lid), json=YES)
        unknown = await bob.request(method, f"/lock/{(fid := new_fid())}/{lid}", json=YES)
        assert (other.status_code, other.json()["detail"]) == (404, f"Execution {run.fid} not found.")
        assert (unknown.status_code, unknown.json()["detail"]) == (404, f"Execution {fid} not found.")
    assert source.app.state.seen == []
    assert (await admin.post(place(run, lid), json=YES)).status_code == 200


@pytest.mark.parametrize("by", ["name", "id", "email", "case"])
async def test_an_assignee_answers_and_sees_nothing_else_of_the_run(
    alice: Any, bob: Any, admin: Any, run: Waiting, by: str
) -> None:
    names = {"name": "bob", "id": bob.id, "email": "bob@example.com", "case": "Bob@Example.COM"}
    lid = await run.lock(assignee=[names[by]])
    other = await run.lock()
    assert (await bob.get(place(run, lid))).status_code == 200
    for path in (
        f"/outputs/status/{run.fid}",
        f"/outputs/stream/{run.fid}",
        f"/outputs/raw/{run.fid}",
        f"/lock/{run.fid}",
        place(run, other),
    ):
        assert (await bob.get(path)).status_code == 404, path
    refused = await alice.post(place(run, lid), json=YES)
    assert refused.status_code == 403
    assert "is assigned to" in refused.json()["detail"]
    assert (await bob.post(place(run, lid), json=YES)).status_code == 200


async def test_operators_answer_what_is_assigned_to_others_or_to_nobody(bob: Any, admin: Any, run: Waiting) -> None:
    for assignee in (["bob"], ["nobody-like-that"], [], "bob"):
        lid = await run.lock(assignee=assignee)
        assert (await admin.get(place(run, lid))).status_code == 200
        assert (await bob.get(place(run, lid))).status_code == (200 if "bob" in assignee else 404)


async def test_four_eyes_refuse_the_launchers_answer_even_of_an_operator(
    panel: Panel, alice: Any, admin: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock(four_eyes=True)
    refused = await alice.post(place(run, lid), json=YES)
    assert refused.status_code == 403
    assert "second pair of eyes" in refused.json()["detail"]
    assert (await admin.post(place(run, lid), json=YES)).status_code == 200

    own = await Waiting(panel, admin.id, source).begin()
    lid = await own.lock(four_eyes=True, assignee=["admin", "alice"])
    assert (await admin.post(place(own, lid), json=YES)).status_code == 403
    assert (await alice.post(place(own, lid), json=YES)).status_code == 200


async def test_nobody_becomes_an_assignee_by_choosing_an_email(alice: Any, bob: Any, admin: Any, run: Waiting) -> None:
    bosses = {"name": "boss@example.com", "email": "boss@private.example", "password": "correct horse"}
    assert (await admin.post("/role", json=bosses)).status_code == 201
    for email, assignee in (("boss@example.com", "boss@example.com"), ("ALICE@example.com", "Alice@Example.com")):
        assert (await bob.put("/role/me", json={"email": email})).status_code == 200
        lid = await run.lock(assignee=[assignee])
        assert (await bob.get(place(run, lid))).status_code == 404, assignee


async def test_the_second_answer_is_told_who_was_first(alice: Any, admin: Any, run: Waiting, source: Source) -> None:
    lid = await run.lock()
    await run.lease(lid, by=admin.id, at=1_800_000_000.0, result={"a": 1})
    text = f"Lock {lid} for {run.fid} released."
    shown = await alice.get(place(run, lid))
    assert (shown.status_code, shown.json()["detail"]) == (404, text)
    second = await alice.post(place(run, lid), json=YES)
    assert second.status_code == 409
    assert second.json()["detail"] == f"{text} It was already answered by admin at 2027-01-15 08:00:00 UTC."
    assert source.app.state.seen == []


@pytest.mark.usefixtures("patient")
async def test_of_answers_at_the_same_instant_one_wins(alice: Any, admin: Any, run: Waiting, source: Source) -> None:
    lid = await run.lock()

    async def answer(user: Any, number: int) -> int:
        answered = await user.post(place(run, lid), json={"comment": str(number)})
        if answered.status_code == 200:
            await run.lease(lid, by=user.id, at=1.8e9)
        else:
            assert "already answered by" in answered.json()["detail"], answered.text
        return answered.status_code

    statuses = await asyncio.gather(*(answer((alice, admin)[number % 2], number) for number in range(8)))
    assert sorted(statuses) == [200] + [409] * 7
    assert len(source.app.state.answers) == 1


@pytest.mark.usefixtures("patient")
async def test_a_second_answer_is_one_too_when_the_first_has_ended_the_run(
    alice: Any, admin: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock()
    source.app.state.next = JSONResponse({"detail": f"Execution {run.fid} not found."}, 404)

    second = asyncio.create_task(alice.post(place(run, lid), json=YES))
    await until(lambda: source.app.state.seen)
    await run.lease(lid, by=admin.id, at=1.8e9)

    assert ((await second).status_code, "already answered by" in second.result().text) == (409, True)


async def test_expired_locks_and_those_of_ended_runs_say_so(alice: Any, run: Waiting) -> None:
    expired, withdrawn, open_at_end = [await run.lock() for _ in range(3)]
    await run.lease(expired, expired=True, at=None)
    await run.lease(withdrawn, withdrawn=True, at=None)
    assert "stopped waiting" in (await alice.post(place(run, withdrawn), json=YES)).json()["detail"]
    assert "It expired at" in (await alice.post(place(run, expired), json=YES)).json()["detail"]
    await run.commit(("error", "killed"), ("status", "error"))
    answer = await alice.post(place(run, open_at_end), json=YES)
    assert answer.status_code == 409
    assert "Its run ended at" in answer.json()["detail"]
    states = [lock["state"] for lock in (await alice.get(f"/lock/{run.fid}")).json()]
    assert states == ["expired", "withdrawn", "closed"]


async def test_unknown_locks_are_not_found(alice: Any, run: Waiting, source: Source) -> None:
    for lid in (str(uuid.uuid4()), "x", "..", "%2e%2e", "0" * 300):
        answer = await alice.post(f"/lock/{run.fid}/{lid}", json=YES)
        assert answer.status_code == 404, lid
    assert source.app.state.seen == []
    for fid in ("x", "..", "0" * 24):
        assert (await alice.get(f"/lock/{fid}/{uuid.uuid4()}")).status_code == 404
    lid = str(uuid.uuid4())
    assert (await alice.get(place(run, lid))).json()["detail"] == f"Lock {lid} for {run.fid} not found."


@pytest.mark.usefixtures("patient")
async def test_a_lock_that_is_just_being_stored_is_waited_for(alice: Any, run: Waiting, source: Source) -> None:
    lid = str(uuid.uuid4())
    asking = asyncio.create_task(alice.get(place(run, lid)))
    await asyncio.sleep(0)
    await run.lock(lid=lid)
    assert (await asking).status_code == 200


@pytest.mark.parametrize("app_url", ["", "http://127.0.0.1:1", "file:///etc/passwd", "http://169.254.169.254/x", 5])
async def test_nothing_but_a_registered_app_is_ever_asked(
    panel: Panel, alice: Any, source: Source, app_url: Any
) -> None:
    run = await Waiting(panel, alice.id, source).begin(app_url=app_url)
    lid = await run.lock()
    for method in ("GET", "POST"):
        answer = await alice.request(method, place(run, lid), json=YES)
        assert answer.status_code == 502
        assert "app" in answer.json()["detail"]
    assert source.app.state.seen == []


async def test_an_app_that_is_down_or_odd_is_said_and_the_session_stays(
    alice: Any, run: Waiting, source: Source
) -> None:
    lid = await run.lock()
    for status, expected in ((401, 502), (403, 403), (404, 404), (500, 500), (503, 503), (302, 502), (200, 502)):
        source.app.state.next = JSONResponse({"detail": "Odd"} if status != 200 else ["x"], status)
        answer = await alice.post(place(run, lid), json=YES)
        assert answer.status_code == expected, status
        assert set(answer.json()) == {"error", "path", "detail", "status_code"}
    source.app.state.next = None
    await source.stop()
    answer = await alice.post(place(run, lid), json=YES)
    assert (answer.status_code, "cannot be reached" in answer.json()["detail"]) == (502, True)
    assert (await alice.get("/role/me")).status_code == 200


async def test_locks_are_listed_with_who_is_asked_and_who_answered(
    alice: Any, bob: Any, admin: Any, run: Waiting
) -> None:
    mine, assigned, done, expired = [await run.lock(), await run.lock(assignee=[bob.id], four_eyes=True)] + [
        await run.lock() for _ in range(2)
    ]
    await run.lease(done, by=admin.id)
    await run.lease(expired, expired=True)
    locks = {lock["lid"]: lock for lock in (await alice.get(f"/lock/{run.fid}")).json()}
    assert list(locks) == [mine, assigned, done, expired]
    assert [lock["state"] for lock in locks.values()] == ["open", "open", "answered", "expired"]
    assert [lock["may_answer"] for lock in locks.values()] == [True, False, False, False]
    assert locks[assigned]["assignee"] == ["bob"]
    assert (locks[done]["by_name"], locks[done]["at"]) == ("admin", 1.8e9)
    assert (await alice.get(f"/outputs/status/{run.fid}")).json()["locks"] == [mine, assigned]


async def test_events_that_are_no_locks_do_no_harm(alice: Any, run: Waiting) -> None:
    odd = ["x", "{}", '{"dict": 5}', '{"dict": {"lid": 5}}', '{"dict": {"lid": "../.."}}', "[" * 10_000]
    await run.commit(*(("lock", payload) for payload in odd), *(("lease", payload) for payload in odd))
    lid = await run.lock(name=None, expires="x", assignee=[5, None], four_eyes="no")
    locks = (await alice.get(f"/lock/{run.fid}")).json()
    assert [(lock["lid"], lock["expires"], lock["assignee"], lock["four_eyes"]) for lock in locks] == [
        (lid, None, [], False)
    ]


async def test_the_proxy_is_no_way_around_who_may_answer(bob: Any, run: Waiting, source: Source) -> None:
    lid = await run.lock()
    ways = ("_lock_", "%5Flock_", "%255Flock_", "x/_lock_", "/_lock_", "_lock_;x", "%5f%6c%6f%63%6b%5f")
    for way in ways:
        for mount in ("", "/inputs"):
            for method in ("GET", "POST"):
                answer = await bob.request(method, f"{mount}{source.place}/{way}/{run.fid}/{lid}", json=YES)
                assert answer.status_code == 403, (mount, method, way)
    assert source.app.state.seen == []


async def test_a_panel_started_later_lists_shows_and_takes_what_was_opened_before(
    alice: Any, run: Waiting, source: Source, store: Any, mode: Any, options: dict[str, Any]
) -> None:
    lid = await run.lock()
    later = create_app(store=store, transport=MemoryTransport(), mode=mode, **options)
    link = httpx.ASGITransport(app=later)
    key = {KODOSUMI_API_KEY: alice.key}
    async with (
        later.router.lifespan_context(later),
        httpx.AsyncClient(transport=link, base_url="http://localhost:3370", headers=key) as client,
    ):
        [listed] = (await client.get(f"/lock/{run.fid}")).json()
        assert (listed["lid"], listed["state"], listed["may_answer"]) == (lid, "open", True)
        assert (await client.get(place(run, lid))).json() == FORM.get_model()
        assert (await client.post(place(run, lid), json=YES)).status_code == 200
    assert source.app.state.answers == [YES]
