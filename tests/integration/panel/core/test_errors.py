"""Errors towards clients: one shape, no stack trace, and an id that is in the log."""

from __future__ import annotations

import logging
import re

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from kodosumi import error
from kodosumi.service.context import Panel
from kodosumi.service.errors import STATUS_OF, status_of
from kodosumi.service.security import CONTENT_SECURITY_POLICY

SHAPE = {"error", "path", "detail", "status_code"}


def descendants(kind: type) -> list[type]:
    return [found for child in kind.__subclasses__() for found in (child, *descendants(child))]


def test_every_error_of_kodosumi_has_a_status() -> None:
    ours = [kind for kind in descendants(error.KodosumiError) if kind.__module__ == error.__name__]
    assert ours
    for kind in ours:
        assert any(base in STATUS_OF for base in kind.__mro__), kind


def test_the_nearest_class_decides() -> None:
    assert status_of(error.ExecutionNotFound("x")) == 404
    assert status_of(error.StoreUnavailable("disk full")) == 503
    assert status_of(error.KodosumiError()) == 500


async def test_our_errors_say_why(app: FastAPI, client: httpx.AsyncClient) -> None:
    async def full() -> None:
        raise error.StoreUnavailable("The disk is full.")

    app.add_api_route("/full", full)
    answer = await client.get("/full")
    assert answer.status_code == 503
    assert answer.json() == {
        "error": "StoreUnavailable",
        "path": "/full",
        "detail": "The disk is full.",
        "status_code": 503,
    }


async def test_an_unforeseen_error_is_a_500_whose_id_is_in_the_log(
    app: FastAPI, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise RuntimeError("inner secret")

    app.add_api_route("/broken", broken)
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/broken")
    assert answer.status_code == 500 and set(answer.json()) == SHAPE
    assert "inner secret" not in answer.text and "Traceback" not in answer.text
    incident = re.search(r"\b[0-9a-f]{12}\b", answer.json()["detail"])
    assert incident and incident[0] in caplog.text and "inner secret" in caplog.text


async def test_unknown_paths_and_methods_have_the_shape(client: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("PATCH", "/health/live", 405)):
        answer = await client.request(method, path)
        assert answer.status_code == status and set(answer.json()) == SHAPE
    assert answer.headers["allow"] == "GET, OPTIONS"


async def test_an_admin_database_that_fails_is_a_503_and_logs_nobody_out(
    panel: Panel, admin: httpx.AsyncClient
) -> None:
    async with panel.database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE sessions RENAME TO away"))
    answer = await admin.get("/role/me", headers={"Accept": "text/html"})
    assert answer.status_code == 503 and "set-cookie" not in answer.headers
    async with panel.database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO sessions"))
    assert (await admin.get("/role/me")).status_code == 200


async def test_every_answer_protects_the_browser(client: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/", headers={"Accept": "text/html"}),
        await client.get("/nowhere"),
        await client.get("/static/kodosumi.css"),
        await admin.get("/schema"),
    ):
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert "unsafe-inline" not in CONTENT_SECURITY_POLICY and "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY
