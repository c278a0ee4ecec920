"""What is counted of a request, and that nothing a client makes up becomes a label."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kodosumi.service.metering import MeteredRequests, Meters, exposition_text

REQUESTS = "kodosumi_http_requests_total"


@pytest.fixture
def meters() -> Meters:
    return Meters()


def counted(meters: Meters, name: str, **labels: str) -> float:
    """A sample's value, 0 when there is none."""
    return meters.registry.get_sample_value(name, labels) or 0.0


async def ask(app: Any, path: str, method: str = "GET") -> None:

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None: ...

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "root_path": ""}
    await app(scope, receive, send)


async def test_a_request_counts_by_the_template_of_its_route(meters: Meters) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = Route("/outputs/status/{fid}", lambda request: None)
        await PlainTextResponse("x", 404)(scope, receive, send)

    metered = MeteredRequests(app, meters)
    await ask(metered, "/outputs/status/1")
    await ask(metered, "/outputs/status/2")
    route = "/outputs/status/{fid}"
    assert counted(meters, REQUESTS, method="GET", route=route, status="4xx") == 2
    assert counted(meters, "kodosumi_http_request_duration_seconds_count", method="GET", route=route) == 2


async def test_unknown_paths_and_methods_are_one_label_each(meters: Meters) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("x", 404)(scope, receive, send)

    for number in range(200):
        await ask(MeteredRequests(app, meters), f"/{number}", f"M{number}")
    assert counted(meters, REQUESTS, method="other", route="unknown", status="4xx") == 200
    (family,) = [each for each in meters.registry.collect() if each.name == "kodosumi_http_requests"]
    assert len([sample for sample in family.samples if sample.name == REQUESTS]) == 1


async def test_a_stream_counts_when_it_ends(meters: Meters) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await go_on.wait()

    asking = asyncio.create_task(ask(MeteredRequests(app, meters), "/"))
    await begun.wait()
    assert counted(meters, REQUESTS, method="GET", route="unknown", status="2xx") == 0
    go_on.set()
    await asking
    assert counted(meters, REQUESTS, method="GET", route="unknown", status="2xx") == 1


async def test_a_request_that_is_broken_off_without_an_answer_counts_as_none(meters: Meters) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        await ask(MeteredRequests(app, meters), "/")
    assert counted(meters, REQUESTS, method="GET", route="unknown", status="none") == 1


async def test_what_is_no_request_passes_uncounted(meters: Meters) -> None:
    passed = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    await MeteredRequests(app, meters)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert passed == ["lifespan"]


def test_two_panels_in_one_process_share_no_numbers(meters: Meters) -> None:
    other = Meters()
    meters.launched(0.1)
    assert counted(meters, "kodosumi_launch_duration_seconds_count") == 1
    assert counted(other, "kodosumi_launch_duration_seconds_count") == 0


def test_the_text_is_what_prometheus_reads_with_a_help_for_all(meters: Meters) -> None:
    meters.answered("GET", "/a", 200, 0.5)
    meters.launched(0.02)
    meters.sent_on(0.003)
    text = exposition_text(meters.registry, ()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(family.documentation for family in families.values())
    assert families.keys() >= {
        "kodosumi_http_requests",
        "kodosumi_http_request_duration_seconds",
        "kodosumi_launch_duration_seconds",
        "kodosumi_event_latency_seconds",
    }
    assert "_created" not in text
