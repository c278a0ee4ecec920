"""An app in a replica of Ray Serve: it was pickled on its way there, and knows its users by the cluster's keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kodosumi import cluster
from kodosumi import forms as F
from kodosumi.endpoint import meta_from_stack
from kodosumi.identity import ANONYMOUS, PUBLISHED_PREFIX, IdentitySigner
from kodosumi.serve import ServeAPI
from tests.servers.server import free_port

PANEL = IdentitySigner("the secret of a panel that signs for this test")


def app_of_a_factory() -> ServeAPI:
    from fastapi import Request
    from fastapi.responses import JSONResponse

    app = ServeAPI()
    # Runners kept warm for this app would only take time from other tests.
    app._warm_up = lambda: None  # type: ignore[method-assign]

    def make(name: str) -> None:
        @app.enter(f"/{name}", F.Model(F.InputText("text", required=True)), summary=name)
        def enter(request: Request, inputs: dict[str, Any]) -> JSONResponse:
            meta = meta_from_stack(None)
            told = f"{meta.summary if meta else None} {inputs['text']} {request.state.user}"
            return JSONResponse({}, headers={"kodosumi_launch": told})

    make("one")
    make("two")
    return app


@pytest.fixture
def base(ray_cluster: str) -> Iterator[str]:
    """Address of the app on Ray Serve, under a prefix."""
    from ray import serve

    port = free_port()
    cluster.publish(PUBLISHED_PREFIX + PANEL.key_id, PANEL.public_key)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        ingress = serve.ingress(app_of_a_factory())(type("Replica", (), {}))
        deployment = serve.deployment(ray_actor_options={"num_cpus": 0.1})(ingress)
        serve.run(deployment.bind(), name="replica-test", route_prefix="/mine")
        yield f"http://127.0.0.1:{port}/mine"
    finally:
        serve.shutdown()


async def test_an_app_in_a_replica_knows_its_endpoints_and_its_users(base: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:

        async def post(name: str, headers: dict[str, str]) -> Any:
            return (await client.post(f"{base}/{name}", json={"text": "x"}, headers=headers)).json()["result"]

        token = PANEL.token("alice", base, "POST", "/mine/one")
        vouched = {"x-kodosumi_base": base, "x-kodosumi-base": base, "x-kodosumi-identity": token}
        assert await post("one", vouched) == "one x alice"
        assert await post("two", vouched) == f"two x {ANONYMOUS}"
        assert await post("two", {"x-kodosumi_user": "alice"}) == f"two x {ANONYMOUS}"
        shown = (await client.get(f"{base}/one")).json()
        assert shown["summary"] == "one" and shown["elements"][0]["name"] == "text"
        refused = await client.post(f"{base}/one", json={"text": ""})
        assert refused.json()["errors"]["text"]
