"""What a panel says towards an app, and the part of it that apps speak to: its files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kodosumi.identity import IdentitySigner, RunGrant
from tests.conditions import until

PANEL = IdentitySigner("the panel's secret")
BASE = "http://app.test:8000"
FID = "0123456789abcdef01234567"


class KnownKeys:
    """A source that knows one panel."""

    async def keys(self, key_id: str) -> Mapping[str, bytes]:
        return {PANEL.key_id: PANEL.public_key}


def vouched(
    method: str,
    path: str,
    *,
    user: str = "alice",
    fid: str | None = FID,
    launches: bool = True,
    panel_url: str = "http://panel.test",
    **grant: Any,
) -> dict[str, str]:
    """The headers of a request that comes through the panel; without ``fid``, those that grant nothing."""
    token = PANEL.token(user, BASE, method, path)
    headers = {"x-kodosumi_base": BASE, "x-kodosumi-identity": token, "x-kodosumi-url": panel_url}
    if fid is not None:
        headers["x-kodosumi-run"] = PANEL.grant(user, fid, launches=launches, **grant)
    return headers


def listed(*names: str, batch: str = "b" * 32) -> str:
    """What a form carries for a file field."""
    items = {f"{n:032x}": {"filename": name, "totalChunks": 1} for n, name in enumerate(names)}
    return json.dumps({"batchId": batch, "items": items, "name": "f"})


class FilesDoor:
    """A server with the two routes of a panel's files that apps use; the panel's own are tested elsewhere.

    Attributes:
        url: where it is. asked: fid, batch and names of each completion. grants: that it was shown.
        answer: what it says instead of serving, or None. before: awaited before each answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []
        self.grants: list[RunGrant] = []
        self.answer: Response | None = None
        self.before: asyncio.Event | None = None
        self.files: dict[str, list[str]] = {}
        self.app = Starlette(
            routes=[
                Route("/files/complete/{fid}/{batch}/in", self._complete, methods=["POST"]),
                Route("/files/{fid}/in", self._list),
            ]
        )

    async def _complete(self, request: Request) -> Response:
        grant = PANEL.granted(request.headers["KODOSUMI_API_KEY"])
        assert grant is not None
        assert request.headers["kodosumi-api-key"] == grant.token
        fid = request.path_params["fid"]
        names = tuple(item["filename"] for item in (await request.json()).values())
        self.asked.append((fid, request.path_params["batch"], names))
        self.grants.append(grant)
        if self.before is not None:
            await self.before.wait()
        if self.answer is not None:
            return self.answer
        self.files.setdefault(fid, []).extend(names)
        return JSONResponse([{"status": "upload complete"} for _ in names], 201)

    async def _list(self, request: Request) -> Response:
        names = sorted(self.files.get(request.path_params["fid"], []))
        return JSONResponse([{"path": f"in/{name}", "size": 5, "last_modified": 1.5} for name in names])

    @asynccontextmanager
    async def served(self) -> AsyncIterator[FilesDoor]:
        """Serves at a free port."""
        server = uvicorn.Server(uvicorn.Config(self.app, port=0, lifespan="off", log_level="critical"))
        serving = asyncio.create_task(server._serve())
        await until(lambda: server.started)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = True
            await serving
