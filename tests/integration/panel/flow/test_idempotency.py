"""``Idempotency-Key``: one launch, however often it is asked for, whatever dies in between; on both admin databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from starlette.responses import JSONResponse, PlainTextResponse, Response

from kodosumi.events import Batch, Event, EventKind, Position
from kodosumi.service.app import create_app
from kodosumi.service.context import Panel
from kodosumi.service.idempotency import keys, sending
from kodosumi.service.idempotency.keys import Keys
from kodosumi.service.idempotency.table import IdempotencyKey
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.conftest import ADDRESS, RecordingMode
from tests.integration.panel.flow.apps import Source, register
from tests.integration.panel.flow.launch_app import LaunchApp, held, launched
from tests.servers.postgres import PostgresServer

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest.fixture(params=["sqlite", "postgresql"])
def options(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[dict[str, Any]]:
    """Settings of a panel, with either admin database."""
    given = {
        "admin_database": f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        "exec_dir": tmp_path / "execution",
        "upload_dir": tmp_path / "uploads",
        "event_transport": "memory",
        "execution_mode": "memory",
        "execution_database": "memory://",
        "app_server": ADDRESS,
        "app_log_file": None,
        "secret_key": "a secret that both panels know, long enough",
        "proxy_timeout": 20,
    }
    if request.param == "sqlite":
        yield given
        return
    name = postgres_server.create_database()
    yield given | {"admin_database": postgres_server.url(name)}
    postgres_server.drop_database(name)


@pytest.fixture
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel's death is noticed soon."""
    for module in (keys, sending):
        monkeypatch.setattr(module, "HOLD_S", 1.5)


@pytest.fixture
def launching(panel: Panel) -> LaunchApp:
    return LaunchApp(panel.identity)


@pytest.fixture
async def source(admin: Any, serve: Any, launching: LaunchApp) -> Source:
    source: Source = await serve(launching.app)
    await register(admin, source.openapi)
    return source


@pytest.fixture
async def other_panel(app: FastAPI, options: dict[str, Any], store: MemoryExecutionStore) -> AsyncGenerator[FastAPI]:
    """A second panel with the same databases."""
    other = create_app(store=store, transport=MemoryTransport(), mode=RecordingMode(), **options)
    async with other.router.lifespan_context(other):
        yield other


@asynccontextmanager
async def same_user(app: FastAPI, user: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A user at another panel."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"KODOSUMI_API_KEY": user.key}  # type: ignore[attr-defined]
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, headers=headers) as client:
        yield client


async def rows(panel: Panel) -> int:
    async with panel.database.session() as session:
        return int(await session.scalar(select(func.count()).select_from(IdempotencyKey)) or 0)


async def changed(panel: Panel, **values: float) -> None:
    async with panel.database.session() as session:
        await session.execute(update(IdempotencyKey).values(**values))


async def begun(store: MemoryExecutionStore, fid: str, owner: str) -> None:
    await store.append(fid, owner, [Batch(Position(1, 1), [Event.now(EventKind.STATUS, "starting")])])


async def broken_off(asking: Awaitable[httpx.Response]) -> None:
    """A request whose panel is gone before the answer, as far as anyone can see."""
    task = asyncio.ensure_future(asking)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_same_request_gets_the_same_execution_and_the_same_answer(
    alice: Any, source: Source, launching: LaunchApp
) -> None:
    answers = [await alice.post(f"{source.place}/", json={"n": 1}, headers=KEY) for _ in range(3)]
    assert len(launching.fids) == 1
    assert [answer.json() for answer in answers] == [{"result": launching.fids[0], "number": 1}] * 3
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["kodosumi_launch"] for answer in answers} == {launching.fids[0]}
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert "idempotency-key" not in launching.headers[0]


async def test_without_a_key_every_request_launches(alice: Any, source: Source, launching: LaunchApp) -> None:
    for _ in range(2):
        await alice.post(f"{source.place}/", json={"n": 1})
    assert len(set(launching.fids)) == 2


async def test_another_body_or_query_under_the_same_key_is_refused(
    alice: Any, source: Source, launching: LaunchApp
) -> None:
    await alice.post(f"{source.place}/", json={"n": 1}, headers=KEY)
    for path, body in (("/", {"n": 2}), ("/?q=1", {"n": 1}), ("/", None)):
        refused = await alice.post(source.place + path, json=body, headers=KEY)
        assert refused.status_code == 422 and "Idempotency-Key" in refused.json()["detail"]
    assert len(launching.fids) == 1


async def test_a_key_belongs_to_its_user_address_and_method(
    alice: Any, bob: Any, source: Source, launching: LaunchApp
) -> None:
    for client, method, path in (
        (alice, "POST", "/"),
        (bob, "POST", "/"),
        (alice, "PUT", "/"),
        (alice, "POST", "/other"),
        (alice, "POST", "/"),
    ):
        assert (await client.request(method, source.place + path, json={}, headers=KEY)).status_code == 200
    assert len(set(launching.fids)) == len(launching.fids) == 4


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "tab\there"])
async def test_what_can_be_no_key_is_refused(alice: Any, source: Source, launching: LaunchApp, key: str) -> None:
    headers = [("Idempotency-Key", key.encode("latin-1"))]
    refused = await alice.post(f"{source.place}/", json={}, headers=headers)
    assert refused.status_code == 400 and "255" in refused.json()["detail"]
    assert launching.fids == []
    assert (await alice.get(f"{source.place}/", headers=headers)).status_code == 200


async def test_two_at_once_launch_once_and_both_get_the_answer(
    alice: Any, source: Source, launching: LaunchApp, other_panel: FastAPI
) -> None:
    here, go_on = asyncio.Event(), asyncio.Event()
    launching.act = held(here, go_on)
    async with same_user(other_panel, alice) as elsewhere:
        clients = (alice, elsewhere, alice, elsewhere)
        asking = [asyncio.create_task(client.post(f"{source.place}/", json={}, headers=KEY)) for client in clients]
        await here.wait()
        go_on.set()
        answers = await asyncio.gather(*asking)
    assert len(launching.fids) == 1
    assert [answer.json()["result"] for answer in answers] == launching.fids * 4


async def test_who_waits_too_long_for_the_first_is_told_to_come_again(
    alice: Any, source: Source, launching: LaunchApp, other_panel: FastAPI
) -> None:
    here, go_on = asyncio.Event(), asyncio.Event()
    launching.act = held(here, go_on)
    other_panel.state.panel.settings.proxy_timeout = 0.2
    first = asyncio.create_task(alice.post(f"{source.place}/", json={}, headers=KEY))
    await here.wait()
    async with same_user(other_panel, alice) as elsewhere:
        told = await elsewhere.post(f"{source.place}/", json={}, headers=KEY)
    assert told.status_code == 409 and told.headers["retry-after"] == "1"
    go_on.set()
    assert (await first).status_code == 200 and len(launching.fids) == 1


async def test_an_answer_that_launched_nothing_frees_the_key(
    alice: Any, panel: Panel, source: Source, launching: LaunchApp
) -> None:
    async def refuse(fid: str) -> Response:
        return replies[len(launching.fids) - 1]

    replies: list[Response] = [
        JSONResponse({"errors": {"n": ["too small"]}, "elements": []}),
        JSONResponse({"detail": "no"}, 400),
        JSONResponse({"detail": "later"}, 503),
    ]
    launching.act = refuse
    for number, status in enumerate((200, 400, 503)):
        answer = await alice.post(f"{source.place}/", json={"n": number}, headers=KEY)
        assert answer.status_code == status and await rows(panel) == 0
    launching.act = None
    assert (await alice.post(f"{source.place}/", json={"n": 4}, headers=KEY)).status_code == 200
    assert len(set(launching.fids)) == 4


async def test_an_app_that_cannot_be_reached_leaves_the_key_free(
    alice: Any, panel: Panel, source: Source, launching: LaunchApp
) -> None:
    await source.stop()
    assert (await alice.post(f"{source.place}/", json={}, headers=KEY)).status_code == 502
    assert await rows(panel) == 0


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_after_an_answer_that_tells_nothing_the_same_execution_is_launched(
    alice: Any, source: Source, launching: LaunchApp, status: int
) -> None:
    async def fail_once(fid: str) -> Response | None:
        return PlainTextResponse("?", status) if len(launching.fids) == 1 else None

    launching.act = fail_once
    assert (await alice.post(f"{source.place}/", json={"n": 1}, headers=KEY)).status_code == status
    assert (await alice.post(f"{source.place}/", json={"n": 2}, headers=KEY)).status_code == 422
    again = await alice.post(f"{source.place}/", json={"n": 1}, headers=KEY)
    assert again.json()["result"] == launching.fids[0] == launching.fids[1]
    assert launching.bodies[0] == launching.bodies[1]
    await alice.post(f"{source.place}/", json={"n": 1}, headers=KEY)
    assert len(launching.fids) == 2


@pytest.mark.usefixtures("short_hold")
async def test_after_the_death_of_the_panel_the_store_answers_for_a_launch_that_it_knows(
    alice: Any, panel: Panel, store: MemoryExecutionStore, source: Source, launching: LaunchApp, other_panel: FastAPI
) -> None:
    here, go_on = asyncio.Event(), asyncio.Event()
    launching.act = held(here, go_on)
    first = asyncio.create_task(alice.post(f"{source.place}/", json={"n": 1}, headers=KEY))
    await here.wait()
    await broken_off(first)
    go_on.set()
    await begun(store, launching.fids[0], alice.id)

    async with same_user(other_panel, alice) as elsewhere:
        refused = await elsewhere.post(f"{source.place}/", json={"n": 2}, headers=KEY)
        answers = [await elsewhere.post(f"{source.place}/", json={"n": 1}, headers=KEY) for _ in range(2)]
    assert refused.status_code == 422 and len(launching.fids) == 1
    assert [answer.json() for answer in answers] == [{"fid": launching.fids[0]}] * 2
    assert {answer.headers["kodosumi_launch"] for answer in answers} == {launching.fids[0]}


@pytest.mark.usefixtures("short_hold")
async def test_after_the_death_of_the_panel_the_same_execution_is_launched_again(
    alice: Any, source: Source, launching: LaunchApp, other_panel: FastAPI
) -> None:
    here, go_on = asyncio.Event(), asyncio.Event()
    launching.act = held(here, go_on)
    large = b"x" * 3_000_000
    first = asyncio.create_task(alice.post(f"{source.place}/", content=large, headers=KEY))
    await here.wait()
    await broken_off(first)
    go_on.set()
    launching.act = None
    async with same_user(other_panel, alice) as elsewhere:
        again = await elsewhere.post(f"{source.place}/", content=large, headers=KEY)
    assert again.json() == {"result": launching.fids[0], "number": 2}
    assert launching.fids[0] == launching.fids[1] and launching.bodies == [large, large]


async def test_a_request_that_never_came_to_its_end_leaves_the_key_free(
    alice: Any, panel: Panel, source: Source, launching: LaunchApp, address: str
) -> None:
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {source.place}/ HTTP/1.1\r\nHost: localhost\r\nKODOSUMI_API_KEY: {alice.key}\r\nContent-Length: 99\r\n"
    )
    writer.write(f"{head}Idempotency-Key: {KEY['Idempotency-Key']}\r\n\r\nhalf".encode())
    await writer.drain()
    await until(lambda: rows(panel), lambda found: found == 1)
    writer.close()
    await until(lambda: rows(panel), lambda found: found == 0)
    assert launching.fids == []
    assert (await alice.post(f"{source.place}/", json={}, headers=KEY)).status_code == 200


async def test_an_expired_key_launches_anew_and_is_removed_in_passing(
    alice: Any, panel: Panel, source: Source, launching: LaunchApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("first", "second"):
        await alice.post(f"{source.place}/", json={}, headers={"Idempotency-Key": key})
    await changed(panel, expires_at=time.time() - 1)
    await alice.post(f"{source.place}/", json={}, headers={"Idempotency-Key": "first"})
    assert len(set(launching.fids)) == 3
    await changed(panel, expires_at=time.time() - 1)
    monkeypatch.setattr(Keys, "_tidy_at", 0.0)
    await alice.post(f"{source.place}/", json={}, headers={"Idempotency-Key": "third"})
    assert await rows(panel) == 1


async def test_of_a_long_answer_the_id_is_kept(alice: Any, source: Source, launching: LaunchApp) -> None:
    async def answer(fid: str) -> Response:
        return launched(fid) if len(launching.fids) > 1 else PlainTextResponse("x" * 200_000, headers=head(fid))

    def head(fid: str) -> dict[str, str]:
        return {"kodosumi_launch": fid}

    launching.act = answer
    first = await alice.post(f"{source.place}/", json={}, headers=KEY)
    again = await alice.post(f"{source.place}/", json={}, headers=KEY)
    assert first.text == "x" * 200_000 and again.json() == {"fid": launching.fids[0]}


async def test_a_redirect_that_launched_is_given_again(alice: Any, source: Source, launching: LaunchApp) -> None:
    async def answer(fid: str) -> Response:
        return Response(status_code=303, headers={"kodosumi_launch": fid, "location": "/other", "set-cookie": "a=b"})

    launching.act = answer
    answers = [await alice.post(f"{source.place}/", json={}, headers=KEY) for _ in range(2)]
    assert [answer.headers["location"] for answer in answers] == [f"{source.place}/other"] * 2
    assert len(launching.fids) == 1 and {answer.status_code for answer in answers} == {303}


async def test_a_form_sent_twice_with_a_key_leads_to_one_run(alice: Any, source: Source, launching: LaunchApp) -> None:
    place = f"/inputs{source.place}/"
    answers = [await alice.post(place, data={"a": "b"}, headers=KEY) for _ in range(2)]
    assert [answer.headers["location"] for answer in answers] == [f"/admin/status/view/{launching.fids[0]}"] * 2
    assert len(launching.fids) == 1
    refused = await alice.post(place, data={"a": "c"}, headers=KEY)
    assert refused.status_code == 422
