"""A panel that reaches no Ray at all shows what runs elsewhere, as it happens: through Redis and PostgreSQL alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.conftest import MakePlant
from tests.acceptance.faults.plant import DEADLINE_S, Plant, numbers, texts, wait_for
from tests.servers.redis import RedisServer
from tests.servers.server import free_port

pytestmark = pytest.mark.fault

SECRET = "a secret that both panels know, forty characters"


def parts_down(health: httpx.Response) -> set[str]:
    """What a panel cannot reach."""
    return {name for name, part in health.json()["parts"].items() if part["state"] == "down"}


def test_a_panel_without_ray_shows_live_events(
    redis_server: RedisServer, postgres_url: str, make_plant: MakePlant, head: Head, gate: Path
) -> None:
    shared = {
        "event_transport": "redis",
        "redis_url": redis_server.url(),
        "redis_stream_prefix": "test:panel:",
        "execution_database": postgres_url,
        "admin_database": postgres_url,
        "secret_key": SECRET,
    }
    plant: Plant = make_plant(head.address, **shared)
    plant.upgrade()
    plant.start()
    remote: Plant = make_plant(f"127.0.0.1:{free_port()}", register_flow=None, **shared)
    remote.panel.start()
    fid = plant.launch("drip", gate=str(gate))

    # While it starts, it may not have heard of the others in time either.
    health = wait_for(remote.health, lambda answer: parts_down(answer) == {"ray", "runs"})
    assert health.status_code == 503

    reading = remote.reading(fid)
    with remote.following(fid) as messages:
        for _ in range(200):
            next(messages)
        assert not gate.exists() and remote.status(fid) == "running"
        seen = next(messages).seq
    with remote.following(fid, after=seen) as messages:
        assert next(messages).seq == seen + 1, "resumed"
    gate.touch()

    events = reading.result(DEADLINE_S)
    told = numbers(events)
    assert told == list(range(len(told)))
    assert texts(events, "final") == [f'{{"int": {len(told)}}}']
    assert remote.stream(fid) == plant.stream(fid) == events
    assert remote.status(fid) == "finished"
    assert "commit feed" not in remote.panel.log.read_text(), "it was woken up, and looked nowhere else"
    assert remote.panel.alive
