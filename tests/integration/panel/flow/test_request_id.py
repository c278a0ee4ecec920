"""A request's id: kept or made by the panel, in its answer and towards apps, in both spellings of a header."""

from __future__ import annotations

from typing import Any

import httpx

from tests.integration.panel.flow.apps import Source, echo_app, register


async def test_an_app_is_told_the_request_id_that_the_caller_gets(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient, serve: Any
) -> None:
    source: Source = await serve(echo_app())
    await register(admin, source.openapi)
    for sent in ({"X-Request-ID": "mine-1"}, {"X-Request-ID": "a b"}, {"X_Request_ID": "forged"}, {}):
        answer = await alice.post(f"{source.place}/echo/", headers=sent)
        told = [
            value for name, value in source.app.state.seen[-1]["headers"] if name.replace("_", "-") == "x-request-id"
        ]
        assert told == answer.headers.get_list("x-request-id")
        assert (told == ["mine-1"]) == (sent.get("X-Request-ID") == "mine-1")


async def test_every_answer_has_a_request_id(client: httpx.AsyncClient) -> None:
    for path in ("/", "/health/live", "/static/none", "/nowhere", "/role/me"):
        assert len((await client.get(path)).headers.get_list("x-request-id")) == 1
