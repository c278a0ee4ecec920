"""Users of a panel under test: making them and logging them in."""

from __future__ import annotations

import httpx

PASSWORD = "correct horse"


async def new_user(client: httpx.AsyncClient, admin: httpx.AsyncClient, name: str) -> httpx.AsyncClient:
    """``client``, logged in as a role made for it."""
    role = {"name": name, "email": f"{name}@example.com", "password": PASSWORD}
    created = await admin.post("/role", json=role)
    assert created.status_code == 201, created.text
    return await logged_in(client, name, PASSWORD)


async def logged_in(client: httpx.AsyncClient, name: str, password: str) -> httpx.AsyncClient:
    """``client``, logged in by cookie, with the role's id and key as attributes."""
    answer = await client.post("/api/login", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    client.id = answer.json()["id"]  # type: ignore[attr-defined]
    client.key = answer.json()["KODOSUMI_API_KEY"]  # type: ignore[attr-defined]
    return client
