"""A run's key: who gets one, for what, and where it is good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from kodosumi.const import KODOSUMI_API_KEY, TOKEN_KEY
from kodosumi.events import Batch, Event, EventKind, Position, is_fid, new_fid
from kodosumi.files.base import MARK
from kodosumi.identity import GRANT_HEADER, IdentitySigner, RunGrant
from kodosumi.service.auth import CurrentFilesUser
from kodosumi.service.context import Panel
from tests.integration.panel.core.test_access import PUBLIC, concrete, routes
from tests.integration.panel.flow.apps import Source, echo_app, register


@pytest.fixture
async def source(admin: Any, serve: Any) -> Source:
    source: Source = await serve(echo_app())
    await register(admin, source.openapi)
    return source


def grants(panel: Panel, source: Source) -> list[RunGrant | None]:
    """Of each request that the app has seen; each has one header at most."""
    found = []
    for seen in source.app.state.seen:
        tokens = [value for name, value in seen["headers"] if name.replace("_", "-") == GRANT_HEADER]
        assert len(tokens) < 2
        found.append(panel.identity.granted(tokens[0]) if tokens else None)
    return found


async def test_what_may_launch_carries_a_fresh_id_and_where_files_lie(
    panel: Panel, alice: Any, source: Source, options: dict[str, Any]
) -> None:
    forged = {GRANT_HEADER: "forged", "x_kodosumi_run": "forged"}
    for method in ("POST", "PUT", "PATCH", "POST"):
        await alice.request(method, f"{source.place}/echo/", headers=forged)
    root: Path = options["exec_dir"]
    given = grants(panel, source)
    assert len({grant.fid for grant in given if grant}) == 4
    for grant in given:
        assert grant is not None and is_fid(grant.fid)
        assert (grant.username, grant.launches, grant.root) == (alice.id, True, str(root))
        assert grant.mark == (root / MARK).read_text()


async def test_what_only_reads_carries_none(panel: Panel, alice: Any, source: Source) -> None:
    for method in ("GET", "DELETE", "OPTIONS"):
        await alice.request(method, f"{source.place}/echo/", headers={GRANT_HEADER: "forged"})
    assert grants(panel, source) == [None] * 3


async def test_a_sent_form_carries_one(panel: Panel, alice: Any, source: Source) -> None:
    await alice.post(f"/inputs{source.place}/echo/", data={"a": "b"})
    grant = grants(panel, source)[0]
    assert grant is not None and grant.launches


async def test_it_names_the_address_that_is_for_runs(panel: Panel, alice: Any, source: Source) -> None:
    panel.settings.internal_url = "http://proxy:8080/"
    await alice.post(f"{source.place}/echo/")
    grant = grants(panel, source)[0]
    assert grant is not None and grant.panel_url == "http://proxy:8080"


async def test_files_elsewhere_have_no_place_on_this_machine(panel: Panel, alice: Any, source: Source) -> None:
    from kodosumi.files.memory import MemoryFileStore

    await panel.files.close()
    panel.files = MemoryFileStore()
    await alice.post(f"{source.place}/echo/")
    grant = grants(panel, source)[0]
    assert grant is not None and (grant.root, grant.mark) == ("", "")


async def test_a_folder_that_cannot_be_written_stops_no_launch(
    panel: Panel, alice: Any, source: Source, options: dict[str, Any]
) -> None:
    options["exec_dir"].write_text("a file in its place")
    assert (await alice.post(f"{source.place}/echo/")).status_code == 200
    grant = grants(panel, source)[0]
    assert grant is not None and (grant.root, grant.mark) == ("", "")


async def test_to_every_route_but_files_a_runs_key_is_nobody(
    app: FastAPI, panel: Panel, admin: Any, client: Any
) -> None:
    key = panel.identity.grant(admin.id, new_fid(), launches=True)
    for method, path in sorted(set(routes(app)) - PUBLIC):
        if path.startswith("/files"):
            continue
        for headers in ({KODOSUMI_API_KEY: key}, {"Cookie": f"{TOKEN_KEY}={key}"}):
            answer = await client.request(method, concrete(path), headers=headers)
            assert answer.status_code == 401, (method, path)


@pytest.fixture
def probe(app: FastAPI, panel: Panel) -> None:
    """A route that says whom it takes a request for, and whether they may have an execution's files."""

    async def who(fid: str, user: CurrentFilesUser) -> dict[str, Any]:
        try:
            execution = await panel.store.execution(fid)
        except KeyError:
            execution = None
        return {
            "user": user.user_id,
            "operator": user.operator,
            "run": bool(user.grant),
            "may": user.may(fid, execution),
        }

    app.get("/probe/{fid}")(who)
    app.post("/probe/{fid}")(who)


async def commit(panel: Panel, fid: str, owner: str, *states: str, at: float | None = None) -> None:
    events = [Event.now(EventKind.STATUS, state) for state in states]
    events = [event if at is None else event._replace(timestamp=at) for event in events]
    execution = await panel.store.append(fid, owner, [Batch(Position(len(states), len(states)), events)])
    assert execution.stored, json.dumps(states)


@pytest.mark.usefixtures("probe")
async def test_a_session_reaches_the_files_of_own_runs_and_an_operator_all(
    panel: Panel, alice: Any, bob: Any, admin: Any, client: Any
) -> None:
    fid, unknown = new_fid(), new_fid()
    await commit(panel, fid, alice.id, "starting")
    for user, may in ((alice, True), (bob, False), (admin, True)):
        assert (await user.get(f"/probe/{fid}")).json()["may"] is may
        assert (await user.get(f"/probe/{unknown}")).json()["may"] is False
    assert (await client.get(f"/probe/{fid}")).status_code == 401
    foreign = {"Origin": "https://evil.example"}
    assert (await alice.post(f"/probe/{fid}", headers=foreign)).status_code == 403
    await panel.store.archive(fid)
    assert (await admin.get(f"/probe/{fid}")).json()["may"] is False


@pytest.mark.usefixtures("probe")
async def test_a_runs_key_is_good_for_its_own_files_from_launch_to_end(
    panel: Panel, alice: Any, admin: Any, client: Any
) -> None:
    fid, other = new_fid(), new_fid()
    await commit(panel, other, admin.id, "starting")
    key = {KODOSUMI_API_KEY: panel.identity.grant(admin.id, fid, launches=True)}
    expected = {"user": admin.id, "operator": False, "run": True, "may": True}
    assert (await client.get(f"/probe/{fid}", headers=key)).json() == expected  # before it is stored
    await commit(panel, fid, admin.id, "starting", "running")
    for headers in (
        key,
        {"kodosumi-api-key": key[KODOSUMI_API_KEY]},
        {"Cookie": f"{TOKEN_KEY}={key[KODOSUMI_API_KEY]}"},
    ):
        assert (await client.get(f"/probe/{fid}", headers=headers)).json() == expected
        assert (await client.post(f"/probe/{fid}", headers=headers)).json() == expected
        assert (await client.get(f"/probe/{other}", headers=headers)).json()["may"] is False
    await commit(panel, fid, admin.id, "running", "running", "finished")
    assert (await client.get(f"/probe/{fid}", headers=key)).status_code == 200  # what it wrote last
    await panel.store.archive(fid)
    assert (await client.get(f"/probe/{fid}", headers=key)).status_code == 401


def granted_at(moment: float, panel: Panel, username: str, fid: str) -> str:
    """A key that was made long ago and still holds."""
    claims = {"sub": username, "aud": "kodosumi:run", "iat": int(moment), "exp": 4e9, "fid": fid, "launches": True}
    return panel.identity._signed(claims)


@pytest.mark.usefixtures("probe")
async def test_a_launch_that_is_asked_for_again_later_has_a_key_that_holds(
    panel: Panel, alice: Any, client: Any
) -> None:
    early = new_fid(1.7e9)
    key = panel.identity.grant(alice.id, early, launches=True)
    assert (await client.get(f"/probe/{early}", headers={KODOSUMI_API_KEY: key})).json()["may"] is True


@pytest.mark.usefixtures("probe")
async def test_a_runs_key_ends_with_its_run(panel: Panel, alice: Any, client: Any) -> None:
    long_ago = 1.7e9
    ended, never, answered = new_fid(), new_fid(long_ago), new_fid()
    await commit(panel, ended, alice.id, "starting", "finished", at=long_ago)
    keys = [
        panel.identity.grant(alice.id, ended, launches=True),
        granted_at(long_ago, panel, alice.id, never),
        panel.identity.grant(alice.id, answered, launches=False),  # of a run that nobody has ever seen
        panel.identity.grant(alice.id, "../../etc", launches=True),
        IdentitySigner("another secret").grant(alice.id, ended, launches=True),
        panel.identity.token(alice.id, "http://app", "GET", "/"),
    ]
    for key in keys:
        for headers in ({KODOSUMI_API_KEY: key}, {"Cookie": f"{TOKEN_KEY}={key}"}):
            assert (await client.get(f"/probe/{ended}", headers=headers)).status_code == 401
