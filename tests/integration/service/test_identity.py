"""The panel publishes on the cluster what apps need to verify who a user is, and says in health what Ray does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from kodosumi import cluster
from kodosumi.execution.memory import MemoryMode
from kodosumi.identity import PUBLISHED_PREFIX, verified_user
from kodosumi.service.app import create_app
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.integration.panel.people import logged_in

OWN = "http://localhost:3370"


async def test_apps_on_the_cluster_can_verify_who_the_panel_vouches_for(ray_cluster: str, tmp_path: Path) -> None:
    transport = MemoryTransport()
    app = create_app(
        store=MemoryExecutionStore(),
        transport=transport,
        mode=MemoryMode(transport),
        admin_database=f"sqlite+aiosqlite:///{tmp_path}/admin.db",
        event_transport="ray",
        ray_server=ray_cluster,
        app_server=OWN,
    )
    async with app.router.lifespan_context(app):
        identity = app.state.panel.identity
        key = await until(lambda: cluster.published(PUBLISHED_PREFIX + identity.key_id))
        token = identity.token("alice", "http://localhost:8000", "POST", "/")
        assert verified_user(token, {identity.key_id: key}, "http://localhost:8000", "POST", "/") == "alice"

        link = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=link, base_url=OWN) as client:
            await logged_in(client, "admin", "admin")

            async def told() -> Any:
                return (await client.get("/health")).json()

            # A cluster that has just been joined may take longer than health waits for its answer.
            health = await until(told, lambda health: health["parts"]["ray"]["state"] == "ok")
        assert health["ray_status"][0]["alive"] is True
