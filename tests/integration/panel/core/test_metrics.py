"""``/metrics`` of a real panel: who may read it, and what a failing part does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from kodosumi.config import Settings, load_settings
from kodosumi.error import ConfigurationError, StoreUnavailable
from kodosumi.service import health
from kodosumi.service.app import create_app
from kodosumi.service.metering import parts
from kodosumi.service.metering.lately import Lately
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.conftest import ADDRESS
from tests.integration.panel.idle import IdleTransport
from tests.unit.store.histories import FAILED, RUNNING, begun, ended

TOKEN = "a token of sixteen or more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    """Settings with a token."""
    return options | {"metrics_token": TOKEN}


@pytest.fixture
def transport() -> IdleTransport:
    """A transport whose figures a test can set."""
    return IdleTransport()


@pytest.fixture(autouse=True)
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    monkeypatch.setattr(parts, "TALLY_FRESH_S", 0.0)


Scrape = Callable[[], Awaitable[dict[str, float]]]


@pytest.fixture
def scrape(client: httpx.AsyncClient) -> Scrape:
    """Reads the metrics with the token: values by sample, written as Prometheus does."""

    async def scrape() -> dict[str, float]:
        answer = await client.get("/metrics", headers=BEARER)
        assert answer.status_code == 200, answer.text
        return samples(answer.text)

    return scrape


def samples(text: str) -> dict[str, float]:
    """``name{label="value",…}`` and value of every sample."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_the_token_reads_the_metrics(scrape: Scrape) -> None:
    found = await scrape()
    assert any(name.startswith("kodosumi_info{") and 'ray="' in name for name in found)
    assert found['kodosumi_up{part="store"}'] == found['kodosumi_up{part="transport"}'] == 1
    assert found["kodosumi_spoolers"] == 1 and found["kodosumi_queue_events"] == 0
    assert found['kodosumi_pool_runs{state="running"}'] == 0
    assert found["process_resident_memory_bytes"] > 0


async def test_operators_read_the_metrics_by_session_and_by_key(admin: Any, visit: Any) -> None:
    answer = await admin.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (await visit().get("/metrics", headers={"KODOSUMI_API_KEY": admin.key})).status_code == 200


async def test_others_are_refused(client: httpx.AsyncClient, alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/metrics")).status_code == 403
    for value in (
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer ä",
    ):
        answer = await client.get("/metrics", headers={"Authorization": value.encode()})
        assert answer.status_code == 401, value
        assert "kodosumi_" not in answer.text


async def test_the_token_opens_nothing_else(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/role", "/timeline/list"):
        assert (await client.get(path, headers=BEARER)).status_code == 401
        assert (await client.get(path, headers={"KODOSUMI_API_KEY": TOKEN})).status_code == 401


async def test_without_a_token_nobody_gets_in_by_one(options: dict[str, Any], store: Any, mode: Any) -> None:
    app = create_app(store=store, transport=MemoryTransport(), mode=mode, **options | {"metrics_token": ""})
    async with app.router.lifespan_context(app):
        link = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=link, base_url=ADDRESS) as client:
            for value in ("", "Bearer", "Bearer ", "Bearer None", f"Bearer {TOKEN}"):
                assert (await client.get("/metrics", headers={"Authorization": value})).status_code == 401


def test_a_token_is_long_enough_or_refused_and_never_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"KODO_METRICS_TOKEN=…: .*16 characters"):
        load_settings(metrics_token="only fifteen ch")
    assert TOKEN not in repr(Settings(metrics_token=TOKEN, _env_file=None))


async def test_runs_are_counted_by_state(scrape: Scrape, store: MemoryExecutionStore) -> None:
    await begun(store, RUNNING)
    await begun(store)
    await ended(store)
    await begun(store, FAILED)
    found = await scrape()
    assert {name: value for name, value in found.items() if name.startswith("kodosumi_runs")} == {
        'kodosumi_runs{state="starting"}': 1,
        'kodosumi_runs{state="running"}': 1,
        'kodosumi_runs{state="awaiting"}': 0,
        'kodosumi_runs{state="paused"}': 0,
        'kodosumi_runs_ended_total{state="finished"}': 1,
        'kodosumi_runs_ended_total{state="error"}': 1,
    }


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "cannot be written"])
async def test_a_store_that_is_away_fails_no_scrape(
    app: FastAPI, scrape: Scrape, store: Any, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    back = asyncio.Event()

    async def refuse() -> None:
        raise StoreUnavailable("connection refused")

    async def hang() -> None:
        await back.wait()

    assert 'kodosumi_runs{state="running"}' in await scrape()
    with monkeypatch.context() as patch:
        patch.setattr(health, "TIMEOUT_S", 0.05)
        patch.setattr(store, "check", hang if trouble == "hangs" else refuse)
        if trouble != "cannot be written":
            tally = Lately(hang if trouble == "hangs" else refuse, "store", 0.0, 0.05)
            patch.setattr(app.state.figures, "_tally", tally)
        found = await scrape()
        assert found['kodosumi_up{part="store"}'] == 0
        assert found['kodosumi_up{part="transport"}'] == 1
        assert ('kodosumi_runs{state="running"}' in found) == (trouble == "cannot be written")
        back.set()
    found = await until(scrape, lambda found: found['kodosumi_up{part="store"}'] == 1)
    assert 'kodosumi_runs{state="running"}' in found


async def test_a_transport_that_is_away_is_missing_and_fails_no_scrape(scrape: Scrape, transport: Any) -> None:
    transport.reason = "connection refused"
    found = await scrape()
    assert found['kodosumi_up{part="transport"}'] == found['kodosumi_up{part="spooler"}'] == 0
    assert found['kodosumi_up{part="store"}'] == 1
    assert not [name for name in found if name.startswith(("kodosumi_queue", "kodosumi_spooler"))]
    transport.reason = None
    transport.consumers = 0
    found = await scrape()
    assert found['kodosumi_up{part="spooler"}'] == 0 and found["kodosumi_spoolers"] == 0


async def test_label_sets_stay_bounded_whatever_paths_are_asked_for(scrape: Scrape, alice: Any) -> None:
    fids = [f"made-up-{number:04}" for number in range(200)]
    for path in (f"/nothing/{fids[0]}", f"/outputs/status/{fids[0]}", f"/static/{fids[0]}", f"/-/x/1/-/{fids[0]}"):
        await alice.get(path)
    await scrape()
    before = await scrape()
    for fid in fids:
        for path in (f"/nothing/{fid}", f"/outputs/status/{fid}", f"/static/{fid}", f"/-/x/1/-/{fid}"):
            await alice.get(path)
    after = await scrape()
    assert after.keys() == before.keys()
    assert not [name for name in after if fids[0] in name or alice.id in name]
    for route in ("unknown", "/outputs/status/{fid}", "/static/{path:path}", "/-/{path:path}"):
        assert after[f'kodosumi_http_requests_total{{method="GET",route="{route}",status="4xx"}}'] >= 201
