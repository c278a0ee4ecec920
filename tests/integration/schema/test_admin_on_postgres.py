"""A panel whose admin database is on PostgreSQL, with and without a pooler: roles, logins, sources, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from kodosumi.config import Settings, load_settings
from kodosumi.error import ConfigurationError
from kodosumi.service import passwords
from kodosumi.service.accounts import all_roles
from kodosumi.service.app import create_app
from kodosumi.service.database import AdminDatabase
from kodosumi.service.parts import opened_database
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.conftest import RecordingMode
from tests.integration.panel.flow.apps import Source, flow_app, register
from tests.integration.panel.people import PASSWORD, logged_in, new_user
from tests.servers.pgbouncer import PgBouncer, require_binary
from tests.servers.postgres import PostgresServer

ADDRESS = "http://localhost:3370"


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest cost that bcrypt knows."""
    monkeypatch.setattr(passwords, "ROUNDS", 4)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["direct", "pooled"])
def panel_url(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a fresh admin database, straight or behind a pgbouncer in transaction mode."""
    name = postgres_server.create_database()
    if request.param == "direct":
        yield postgres_server.url(name)
    else:
        require_binary()
        with PgBouncer(postgres_server) as bouncer:
            yield postgres_server.url(name, bouncer.port)
    postgres_server.drop_database(name)


def options(url: str, folder: Path) -> dict[str, Any]:
    return {
        "admin_database": url,
        "exec_dir": folder / "execution",
        "upload_dir": folder / "uploads",
        "event_transport": "memory",
        "execution_mode": "memory",
        "execution_database": "memory://",
        "app_server": ADDRESS,
        "app_log_file": None,
        "secret_key": "a secret of this test",
    }


@asynccontextmanager
async def started(url: str, folder: Path) -> AsyncGenerator[FastAPI]:
    """A panel's application, started."""
    app = create_app(
        store=MemoryExecutionStore(), transport=MemoryTransport(), mode=RecordingMode(), **options(url, folder)
    )
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def app(panel_url: str, tmp_path: Path) -> AsyncGenerator[FastAPI]:
    async with started(panel_url, tmp_path) as app:
        yield app


def visitor(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=ADDRESS)


async def test_logins_roles_and_sources_work(app: FastAPI) -> None:
    source = await Source(flow_app("Prime")).start()
    async with visitor(app) as first, visitor(app) as second:
        admin = await logged_in(first, "admin", "admin")
        alice = await new_user(second, admin, "alice")
        assert [role["name"] for role in (await admin.get("/role")).json()] == ["admin", "alice"]
        again = {"name": "alice", "email": "other@example.com", "password": PASSWORD}
        assert (await admin.post("/role", json=again)).status_code == 409
        assert (await alice.get("/role")).status_code == 403
        assert (await admin.get("/role/alice")).json()["id"] == alice.id
        assert (await admin.put(f"/role/{admin.id}", json={"operator": False})).status_code == 409
        assert (await admin.put(f"/role/{alice.id}", json={"active": False})).status_code == 200
        assert (await alice.get("/role/me")).status_code == 401
        assert (await admin.delete(f"/role/{alice.id}")).status_code == 204
        assert (await admin.get(f"/role/{alice.id}")).status_code == 404
        assert (await admin.get("/role/%00")).status_code == 404
        nul = await second.post("/api/login", json={"name": "\0", "password": "\0"})
        assert nul.status_code == 401
        (flow,) = await register(admin, source.openapi)
        assert (await admin.get("/flow")).json()["items"] == [flow]
        assert (await admin.put("/flow/register")).status_code == 200
        gone = await admin.post("/flow/unregister", json={"url": source.openapi})
        assert gone.status_code < 300 and (await admin.get("/flow")).json()["items"] == []
        await admin.get("/logout")
        assert (await admin.get("/role/me")).status_code == 401
    await source.stop()


async def test_many_requests_at_once_share_few_connections(app: FastAPI) -> None:
    async with visitor(app) as client:
        admin = await logged_in(client, "admin", "admin")
        answers = await asyncio.gather(*(admin.get("/role/me") for _ in range(200)))
        assert {answer.status_code for answer in answers} == {200}


async def test_of_many_panels_at_once_one_makes_the_first_operator(panel_url: str, tmp_path: Path) -> None:
    settings = load_settings(**options(panel_url, tmp_path) | {"database_pool_size": 2})

    async def open_one() -> list[str]:
        async with opened_database(settings) as database:
            return [role.name for role in await all_roles(database)]

    assert await asyncio.gather(*(open_one() for _ in range(6))) == [["admin"]] * 6


async def test_a_panel_goes_on_after_its_server_was_restarted(own_server: PostgresServer, tmp_path: Path) -> None:
    url = own_server.url(own_server.create_database())
    async with started(url, tmp_path) as app, visitor(app) as client:
        admin = await logged_in(client, "admin", "admin")
        own_server.restart()
        assert (await admin.get("/role/me")).status_code == 200
        own_server.kill()
        refused = await admin.get("/role/me")
        assert (refused.status_code, refused.json()["error"]) == (503, "DatabaseUnavailable")
        own_server.start()
        await until(lambda: admin.get("/role/me"), lambda answer: answer.status_code == 200)


async def test_a_statement_that_takes_too_long_is_ended_and_its_connection_is_used_again(
    panel_url: str, tmp_path: Path
) -> None:
    settings = load_settings(**options(panel_url, tmp_path) | {"database_timeout": 0.3, "database_pool_size": 2})
    database = AdminDatabase(settings)
    try:
        for _ in range(3):
            with pytest.raises(DBAPIError, match="statement timeout"):
                async with database.session() as session:
                    await session.execute(text("SELECT pg_sleep(60)"))
        async with database.session() as session:
            assert await session.scalar(text("SHOW lock_timeout")) == "300ms"
    finally:
        await database.close()


async def test_a_pooler_keeps_no_settings_of_ours(panel_url: str, tmp_path: Path) -> None:
    database = AdminDatabase(load_settings(**options(panel_url, tmp_path) | {"database_timeout": 7}))
    plain = AdminDatabase(load_settings(**options(panel_url, tmp_path) | {"database_timeout": 9}))
    try:
        for _ in range(5):
            for each, shown in ((database, "7s"), (plain, "9s")):
                async with each.session() as session:
                    assert await session.scalar(text("SHOW statement_timeout")) == shown
    finally:
        await database.close()
        await plain.close()


async def test_what_is_wrong_with_the_url_is_one_line_with_a_remedy(postgres_server: PostgresServer) -> None:
    bad = {
        "password": f"postgresql+asyncpg://kodosumi:geheim@127.0.0.1:{postgres_server.port}/postgres",
        "does not exist": postgres_server.url("nowhere"),
        "host name": "postgresql+asyncpg://kodosumi:geheim@nowhere.invalid/x",
        "no TLS": postgres_server.url("postgres", sslmode="require"),
        "is not a file": postgres_server.url("postgres", sslmode="verify-full", sslrootcert="/nowhere.pem"),
        "cannot be read": "postgresql+asyncpg://kodosumi:geheim@h:port:1/x",
        "koco db --upgrade": postgres_server.url("postgres"),
    }
    for said, url in bad.items():
        with pytest.raises(ConfigurationError, match=said) as caught:
            await AdminDatabase(Settings(admin_database=url, _env_file=None)).open()
        text_of = str(caught.value)
        assert "KODO_ADMIN_DATABASE" in text_of and "\n" not in text_of
        assert "geheim" not in text_of and postgres_server.password not in text_of
