"""Roles: who may log in, who may change whom, and the one operator that stays."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from kodosumi.config import load_settings
from kodosumi.service.accounts import all_roles, ensure_first_operator
from kodosumi.service.context import Panel
from kodosumi.service.database import AdminDatabase
from tests.integration.panel.people import PASSWORD, logged_in

NEW = {"name": "carol", "email": "carol@example.com", "password": "secret"}


async def test_an_operator_makes_reads_changes_and_deletes_roles(admin: httpx.AsyncClient) -> None:
    created = await admin.post("/role", json=NEW)
    assert created.status_code == 201
    role = created.json()
    uuid.UUID(role["id"])
    assert role == {"id": role["id"], "name": "carol", "email": NEW["email"], "active": True, "operator": False}
    for key in ("carol", role["id"]):
        assert (await admin.get(f"/role/{key}")).json() == role
    changed = await admin.put(f"/role/{role['id']}", json={"name": "caroline", "operator": True})
    assert changed.json() == role | {"name": "caroline", "operator": True}
    assert [each["name"] for each in (await admin.get("/role")).json()] == ["admin", "caroline"]
    assert (await admin.delete(f"/role/{role['id']}")).status_code == 204
    assert (await admin.delete(f"/role/{role['id']}")).status_code == 404
    assert (await admin.get("/role/carol")).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "me"},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"name": str(uuid.UUID(int=1))},
        {"email": "nowhere"},
        {"email": "a\0b@example.com"},
        {"password": ""},
        {"password": "x" * 73},
        {"password": "a\0b"},
        {"operator": "perhaps"},
        {"name": None},
    ],
)
async def test_a_role_that_cannot_be_is_a_400_that_does_not_repeat_it(admin: Any, change: dict[str, Any]) -> None:
    answer = await admin.post("/role", json=NEW | {"password": "hidden"} | change)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "path", "detail", "status_code"}
    assert "hidden" not in answer.text


async def test_names_and_addresses_are_taken_once(admin: httpx.AsyncClient, alice: Any) -> None:
    assert (await admin.post("/role", json=NEW | {"name": "alice"})).status_code == 409
    assert (await admin.post("/role", json=NEW | {"email": "alice@example.com"})).status_code == 409
    assert (await admin.put(f"/role/{alice.id}", json={"name": "admin"})).status_code == 409
    assert (await alice.put("/role/me", json={"email": "admin@example.com"})).status_code == 409


@pytest.mark.parametrize("ident", ["nonsense", "0", "me", "%00", str(uuid.UUID(int=7))])
async def test_unknown_roles_are_not_found(admin: httpx.AsyncClient, ident: str) -> None:
    if ident != "me":
        assert (await admin.get(f"/role/{ident}")).status_code == 404
        assert (await admin.put(f"/role/{ident}", json={"active": True})).status_code == 404
    assert (await admin.delete(f"/role/{ident}")).status_code == 404


async def test_disabling_a_role_ends_its_sessions_for_good(admin: httpx.AsyncClient, alice: Any) -> None:
    await admin.put(f"/role/{alice.id}", json={"active": False})
    assert (await alice.get("/role/me")).status_code == 401
    assert (await alice.post("/api/login", json={"name": "alice", "password": PASSWORD})).status_code == 401
    await admin.put(f"/role/{alice.id}", json={"active": True})
    assert (await alice.get("/role/me")).status_code == 401, "the old session stays over"


async def test_an_operators_password_change_ends_the_sessions_of_that_role(admin: Any, alice: Any) -> None:
    await admin.put(f"/role/{alice.id}", json={"password": "renewed"})
    assert (await alice.get("/role/me")).status_code == 401
    assert (await alice.post("/api/login", json={"name": "alice", "password": "renewed"})).status_code == 200


async def test_ones_own_password_change_ends_every_session_but_this_browsers(visit: Any, alice: Any) -> None:
    elsewhere = await logged_in(visit(), "alice", PASSWORD)
    old_key = alice.key
    assert (await alice.put("/role/me", json={"password": "renewed"})).status_code == 200
    assert (await alice.get("/role/me")).status_code == 200
    assert (await elsewhere.get("/role/me")).status_code == 401
    assert (await elsewhere.get("/role/me", headers={"KODOSUMI_API_KEY": old_key})).status_code == 401


async def test_nobody_makes_themselves_an_operator(alice: httpx.AsyncClient) -> None:
    await alice.put("/role/me", json={"operator": True, "name": "admin", "active": False})
    assert (await alice.get("/role/me")).json()["operator"] is False
    assert (await alice.get("/role/me")).json()["name"] == "alice"


async def test_a_demoted_operator_is_one_no_more_at_once(admin: Any, alice: Any) -> None:
    await admin.put(f"/role/{alice.id}", json={"operator": True})
    assert (await alice.get("/role")).status_code == 200
    await admin.put(f"/role/{alice.id}", json={"operator": False})
    assert (await alice.get("/role")).status_code == 403


@pytest.mark.parametrize("change", [{"active": False}, {"operator": False}, None])
async def test_the_last_active_operator_stays(admin: Any, alice: Any, change: dict[str, bool] | None) -> None:
    async def remove(ident: str) -> httpx.Response:
        return await (admin.put(f"/role/{ident}", json=change) if change else admin.delete(f"/role/{ident}"))

    assert (await remove(admin.id)).status_code == 409
    assert (await admin.get("/role/me")).json()["operator"] is True, "and its session too"
    await admin.put(f"/role/{alice.id}", json={"operator": True})
    assert (await remove(admin.id)).status_code in (200, 204)


async def test_two_operators_cannot_remove_each_other_at_the_same_moment(admin: Any, alice: Any, panel: Panel) -> None:
    await admin.put(f"/role/{alice.id}", json={"operator": True})
    answers = await asyncio.gather(
        admin.put(f"/role/{alice.id}", json={"active": False}), alice.put(f"/role/{admin.id}", json={"active": False})
    )
    # Who comes second is either the last operator's remover (409), or logged out by the first (401, 403).
    assert sorted(answer.status_code for answer in answers)[0] == 200
    assert sum(answer.status_code == 200 for answer in answers) == 1
    assert [role for role in await all_roles(panel.database) if role.operator and role.active]


async def test_the_first_operator_may_be_renamed_and_does_not_come_back(admin: Any, panel: Panel) -> None:
    await admin.put(f"/role/{admin.id}", json={"name": "root"})
    await ensure_first_operator(panel.database, panel.settings)
    assert [role.name for role in await all_roles(panel.database)] == ["root"]


async def test_of_many_processes_that_start_at_once_one_makes_the_first_operator(options: dict[str, Any]) -> None:
    settings = load_settings(**options)
    databases = [AdminDatabase(settings) for _ in range(6)]
    try:
        await asyncio.gather(*(database.open() for database in databases))
        await asyncio.gather(*(ensure_first_operator(database, settings) for database in databases))
        assert [role.name for role in await all_roles(databases[0])] == ["admin"]
    finally:
        await asyncio.gather(*(database.close() for database in databases))
