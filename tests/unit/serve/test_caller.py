"""Who calls: nobody is believed but a panel that signs."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle
import httpx
import jwt
import pytest
from fastapi import Request

from kodosumi import cluster
from kodosumi import forms as F
from kodosumi.error import ClusterError
from kodosumi.identity import ANONYMOUS, PUBLISHED_PREFIX, IdentitySigner
from kodosumi.serve import ServeAPI
from kodosumi.serve.caller import ClusterKeys

from .conftest import Client, launch
from .panel import BASE, FID, PANEL, KnownKeys, vouched


def app_that_tells() -> ServeAPI:
    app = ServeAPI()
    app.caller_keys = KnownKeys()

    @app.get("/who/{rest:path}")
    async def who(request: Request) -> list[str]:
        return [request.state.user, request.state.prefix]

    return app


async def who(
    client_of: Client, headers: Mapping[str, str], path: str = "/who/x", app: ServeAPI | None = None
) -> list[str]:
    async with client_of(app or app_that_tells()) as client:
        answer: list[str] = (await client.get(path, headers=headers)).json()
    return answer


def signed(token: str | None = None, base: str = BASE, **more: str) -> dict[str, str]:
    token = PANEL.token("alice", base, "GET", "/who/x") if token is None else token
    return {"x-kodosumi_base": base, "x-kodosumi-identity": token, **more}


async def test_a_user_whom_the_panel_vouches_for_is_known(client_of: Client) -> None:
    assert await who(client_of, signed()) == ["alice", BASE]


async def test_the_base_may_come_with_a_hyphen(client_of: Client) -> None:
    headers = {"x-kodosumi-base": BASE, "x-kodosumi-identity": signed()["x-kodosumi-identity"]}
    assert await who(client_of, headers) == ["alice", BASE]


async def test_a_bare_user_header_is_never_believed(client_of: Client) -> None:
    bare = {"x-kodosumi_user": "root", "x-kodosumi-user": "root"}
    assert await who(client_of, bare) == [ANONYMOUS, ""]
    assert await who(client_of, signed(**bare)) == ["alice", BASE]


@pytest.mark.parametrize(
    "made",
    [
        lambda: signed(""),
        lambda: signed("nonsense"),
        lambda: signed(jwt.encode({"sub": "alice", "aud": BASE}, "x" * 32, headers={"kid": PANEL.key_id})),
        lambda: signed(IdentitySigner("another").token("alice", BASE, "GET", "/who/x")),
        lambda: signed(PANEL.token("alice", BASE, "POST", "/who/x")),
        lambda: signed(PANEL.token("alice", BASE, "GET", "/who/y")),
        lambda: signed(PANEL.token("alice", "http://other:8000", "GET", "/who/x")),
        lambda: signed(base="http://other:8000"),
        lambda: signed(base="http://app.test"),
        lambda: signed(base="http://app.test:8000@other"),
        lambda: signed(base="nonsense"),
        lambda: signed(base="http://[app"),
        lambda: signed(base=""),
        lambda: signed(base="http://app.test:99999999"),
    ],
)
async def test_a_token_that_does_not_hold_for_this_request_leaves_the_user_unknown(
    client_of: Client, made: Callable[[], dict[str, str]]
) -> None:
    # Now, so that it isn't its age for which it doesn't hold.
    headers = made()
    user, prefix = await who(client_of, headers)
    assert (user, prefix) == (ANONYMOUS, headers["x-kodosumi_base"])


async def test_default_ports_may_be_left_out(client_of: Client) -> None:
    base = "https://App.test:443/prefix"
    token = PANEL.token("alice", base, "GET", "/who/x")
    assert (await who(client_of, signed(token, base, host="app.test")))[0] == "alice"


@pytest.mark.parametrize("path", ["/who/a%20b", "/who/%C3%A4?x=1", "/who/a%2Fb"])
async def test_a_path_counts_as_the_panel_wrote_it(client_of: Client, path: str) -> None:
    token = PANEL.token("alice", BASE, "GET", path.partition("?")[0])
    assert (await who(client_of, signed(token), path))[0] == "alice"


async def test_an_app_below_a_prefix_knows_its_user(client_of: Client) -> None:
    app = app_that_tells()
    transport = httpx.ASGITransport(app, root_path="/my")
    for path in ("/my/who/x", "/who/x"):
        token = PANEL.token("alice", BASE + "/my", "GET", path)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            answer = await client.get("/my/who/x", headers=signed(token, BASE + "/my"))
        assert answer.json() == ["alice", BASE + "/my"]


async def test_requests_at_the_same_time_keep_their_users(client_of: Client) -> None:
    app = app_that_tells()
    names = [f"user-{n}" for n in range(20)]
    asked = [
        who(client_of, signed(PANEL.token(name, BASE, "GET", "/who/x")) if n % 2 else {}, app=app)
        for n, name in enumerate(names)
    ]
    users = [user for user, _ in await asyncio.gather(*asked)]
    assert users == [name if n % 2 else ANONYMOUS for n, name in enumerate(names)]


async def test_a_handler_of_enter_sees_the_user(client_of: Client) -> None:
    app = app_that_tells()
    seen: list[Any] = []

    @app.enter("/", F.Model(F.Submit("go")))
    def enter(request: Request) -> Any:
        seen.append(request.state.user)
        return launch()

    async with client_of(app) as client:
        await client.post("/", json={}, headers=signed(PANEL.token("alice", BASE, "POST", "/")))
    assert seen == ["alice"]


async def granted(client_of: Client, headers: Mapping[str, str]) -> Any:
    app = app_that_tells()

    @app.get("/grant")
    async def grant(request: Request) -> Any:
        return request.state.grant and dataclasses.asdict(request.state.grant)

    async with client_of(app) as client:
        return (await client.get("/grant", headers=headers)).json()


async def test_what_the_panel_grants_a_run_is_known(client_of: Client) -> None:
    headers = vouched("GET", "/grant", root="/files", mark="m")
    given = await granted(client_of, headers)
    assert abs(given.pop("issued_at") - time.time()) < 600
    assert given == {
        "fid": FID,
        "username": "alice",
        "launches": True,
        "root": "/files",
        "mark": "m",
        "token": headers["x-kodosumi-run"],
    }
    assert (await granted(client_of, vouched("GET", "/grant", launches=False)))["launches"] is False


@pytest.mark.parametrize(
    "made",
    [
        dict,
        lambda: vouched("GET", "/grant", fid=None),
        lambda: {"x-kodosumi-run": vouched("GET", "/grant")["x-kodosumi-run"]},
        lambda: {**vouched("POST", "/grant")},
        lambda: {**vouched("GET", "/grant"), "x-kodosumi-run": PANEL.grant("bob", FID, launches=True)},
        lambda: {**vouched("GET", "/grant"), "x-kodosumi-run": IdentitySigner("x").grant("alice", FID, launches=True)},
        lambda: {**vouched("GET", "/grant"), "x-kodosumi-run": PANEL.token("alice", BASE, "GET", "/grant")},
        lambda: {**vouched("GET", "/grant"), "x-kodosumi-run": "nonsense"},
        lambda: {**vouched("GET", "/grant"), "x-kodosumi-identity": vouched("GET", "/grant")["x-kodosumi-run"]},
    ],
)
async def test_a_grant_counts_only_with_the_panels_word_about_the_same_user(
    client_of: Client, made: Callable[[], Mapping[str, str]]
) -> None:
    assert await granted(client_of, made()) is None


class Cluster:
    """What a cluster has published, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.published: dict[str, bytes] = {}
        self.readings = 0
        self.down = False
        monkeypatch.setattr(cluster, "attach", self._attach)
        monkeypatch.setattr(
            cluster, "published_keys", lambda prefix: [k for k in self.published if k.startswith(prefix)]
        )
        monkeypatch.setattr(cluster, "published", self.published.get)

    def _attach(self, settings: object) -> None:
        self.readings += 1
        if self.down:
            raise ClusterError("no Ray here")


async def test_published_keys_are_read_once_and_unknown_ids_cannot_make_that_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kodosumi.serve.caller.REREAD_AFTER_S", 3_600.0)
    there = Cluster(monkeypatch)
    there.published[PUBLISHED_PREFIX + PANEL.key_id] = PANEL.public_key
    keys = ClusterKeys()
    found = await asyncio.gather(*(keys.keys(PANEL.key_id) for _ in range(10)))
    assert all(known == {PANEL.key_id: PANEL.public_key} for known in found)
    for n in range(100):
        await keys.keys(f"unknown-{n}")
    assert there.readings == 1


async def test_a_key_published_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodosumi.serve.caller.REREAD_AFTER_S", 0.0)
    there = Cluster(monkeypatch)
    keys = ClusterKeys()
    assert await keys.keys(PANEL.key_id) == {}
    there.published[PUBLISHED_PREFIX + PANEL.key_id] = PANEL.public_key
    assert await keys.keys(PANEL.key_id) == {PANEL.key_id: PANEL.public_key}


async def test_without_a_cluster_users_are_anonymous_and_the_log_says_so(
    client_of: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Cluster(monkeypatch).down = True
    app = app_that_tells()
    app.caller_keys = ClusterKeys()
    with caplog.at_level(logging.WARNING):
        assert (await who(client_of, signed(), app=app))[0] == ANONYMOUS
    assert "no Ray here" in caplog.text


def test_the_source_of_keys_travels_without_what_it_knows() -> None:
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(ClusterKeys())), ClusterKeys)
