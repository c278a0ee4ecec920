"""Health: which part is down and why, in bounded time."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from kodosumi.error import StoreUnavailable
from kodosumi.service import health
from kodosumi.service.context import Panel
from tests.integration.panel.idle import IdleTransport

PUBLISHED = {"kodosumi_version", "python_version", "ray_version", "ray_status", "spooler_status"}


@pytest.fixture
def transport() -> IdleTransport:
    """A transport whose figures a test can set."""
    return IdleTransport()


@pytest.fixture(autouse=True)
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)


async def test_liveness_needs_nobody_and_nothing(client: httpx.AsyncClient, transport: IdleTransport) -> None:
    transport.reason = "away"
    assert (await client.get("/health/live")).status_code == 200


async def test_a_healthy_panel_gives_the_published_figures(alice: httpx.AsyncClient) -> None:
    answer = await alice.get("/health")
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() >= PUBLISHED
    assert answer.json()["spooler_status"]["active"] == 1


async def test_without_a_spooler_health_is_503_and_says_so(alice: httpx.AsyncClient, transport: IdleTransport) -> None:
    transport.consumers = 0
    answer = await alice.get("/health")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["spooler: no spooler is alive; start one with `koco spool`"]
    assert "error" in answer.json()["spooler_status"]
    transport.consumers = 2
    assert (await alice.get("/health")).status_code == 200


async def test_a_transport_that_is_away_or_hangs_is_down(
    alice: httpx.AsyncClient, transport: IdleTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.reason = "connection refused"
    parts = (await alice.get("/health")).json()["parts"]
    assert parts["transport"] == {"state": "down", "detail": "connection refused"}
    transport.hangs = True
    monkeypatch.setattr(health, "TIMEOUT_S", 0.05)
    for _ in range(3):
        answer = await alice.get("/health")
        assert answer.status_code == 503
        assert answer.json()["parts"]["transport"]["detail"].startswith("no answer")


async def test_a_store_that_cannot_be_written_is_down(alice: httpx.AsyncClient, panel: Panel, store: object) -> None:
    async def full() -> None:
        raise StoreUnavailable("No space left on device")

    store.check = full  # type: ignore[attr-defined]
    answer = await alice.get("/health")
    assert answer.status_code == 503
    assert "store: No space left on device" in answer.json()["reasons"]


async def test_answers_are_kept_for_a_moment(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 1000.0)
    first = await app.state.health.findings()
    assert await app.state.health.findings() is first
