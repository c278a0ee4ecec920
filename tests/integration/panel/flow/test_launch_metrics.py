"""What a real launch, its run and a viewer do to ``/metrics``: app, panel, spooler and store are the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kodosumi.core import Launch
from kodosumi.forms import InputText, Model, Submit
from kodosumi.serve import ServeAPI
from kodosumi.service.context import Panel
from kodosumi.service.metering import parts
from tests.conditions import until
from tests.integration.panel.flow.apps import Source

PROXY = "/-/{path:path}"


async def asks(inputs: dict[str, Any], tracer: Any) -> str:
    """Waits for an answer, so that whoever watches sees events as they come."""
    await tracer.lock("go", {})
    await tracer.markdown("went on")
    return "done"


def asking_app(panel: Panel) -> ServeAPI:
    class Keys:
        async def keys(self, key_id: str) -> Mapping[str, bytes]:
            return {panel.identity.key_id: panel.identity.public_key}

    app = ServeAPI()
    app.caller_keys = Keys()

    @app.enter("/", Model(InputText("text"), Submit("go")), summary="Asks")
    def enter(request: Any, inputs: dict[str, Any]) -> Any:
        return Launch(request, asks)

    app.lock("go")(lambda: Model(Submit("go")))
    app.lease("go")(lambda inputs: inputs)
    return app


@pytest.fixture(autouse=True)
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "TALLY_FRESH_S", 0.0)


@pytest.fixture
async def source(panel: Panel, registered: Any) -> Source:
    """The app, registered; what it launches runs here."""
    source: Source = await registered(asking_app(panel))
    return source


async def scraped(admin: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Values by name and the labels' values."""
    answer = await admin.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_a_launched_run_and_its_viewer_show_in_the_metrics(
    admin: Any, alice: Any, address: str, source: Source, panel: Panel
) -> None:
    before = await scraped(admin)
    assert before["kodosumi_launch_duration_seconds_count",] == before["kodosumi_sse_viewers",] == 0

    fid = (await alice.post(f"{source.place}/", json={"text": "x"})).json()["result"]
    execution = await until(lambda: panel.store.execution(fid), lambda found: found.locks)
    found = await until(lambda: scraped(admin), lambda found: found["kodosumi_runs", "awaiting"] == 1)
    assert found["kodosumi_launch_duration_seconds_count",] == 1
    assert found["kodosumi_http_requests_total", "POST", PROXY, "2xx"] == 1

    key = {"KODOSUMI_API_KEY": alice.key}
    async with (
        httpx.AsyncClient(base_url=address, headers=key, timeout=60) as watching,
        watching.stream("GET", f"/outputs/stream/{fid}") as stream,
    ):
        lines = stream.aiter_lines()
        async for line in lines:
            if line == "event: lock":
                break
        found = await scraped(admin)
        assert found["kodosumi_sse_viewers",] == 1
        assert found["kodosumi_event_latency_seconds_count",] == 0, "what was there before it came isn't live"
        assert ("kodosumi_http_requests_total", "GET", "/outputs/stream/{fid}", "2xx") not in found
        await alice.post(f"/lock/{fid}/{execution.locks[0]}", json={})
        async for _ in lines:
            pass
    found = await until(lambda: scraped(admin), lambda found: found["kodosumi_sse_viewers",] == 0)
    assert found["kodosumi_event_latency_seconds_count",] >= 1
    assert found["kodosumi_http_requests_total", "GET", "/outputs/stream/{fid}", "2xx"] == 1
    found = await until(lambda: scraped(admin), lambda found: found["kodosumi_runs_ended_total", "finished"] == 1)
    assert found["kodosumi_runs", "awaiting"] == 0


async def test_a_viewer_that_goes_away_is_counted_no_more(
    admin: Any, alice: Any, address: str, source: Source, panel: Panel
) -> None:
    fid = (await alice.post(f"{source.place}/", json={"text": "x"})).json()["result"]
    await until(lambda: panel.store.execution(fid))
    async with (
        httpx.AsyncClient(base_url=address, headers={"KODOSUMI_API_KEY": alice.key}) as watching,
        watching.stream("GET", f"/outputs/main/{fid}"),
    ):
        await until(lambda: scraped(admin), lambda found: found["kodosumi_sse_viewers",] == 1)
    await until(lambda: scraped(admin), lambda found: found["kodosumi_sse_viewers",] == 0)


async def test_a_launch_that_is_given_again_counts_once(admin: Any, alice: Any, source: Source) -> None:
    key = {"Idempotency-Key": "once"}
    first = await alice.post(f"{source.place}/", json={"text": "x"}, headers=key)
    again = await alice.post(f"{source.place}/", json={"text": "x"}, headers=key)
    assert first.json()["result"] == again.json()["result"]
    assert (await alice.get(f"{source.place}/")).status_code == 200
    assert (await scraped(admin))["kodosumi_launch_duration_seconds_count",] == 1
