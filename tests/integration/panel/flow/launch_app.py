"""An app that notes what it launches, and answers as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from kodosumi.identity import GRANT_HEADER, IdentitySigner
from tests.integration.panel.flow.apps import FLOW

Act = Callable[[str], Awaitable[Response | None]]


class LaunchApp:
    """Launches with every POST, as far as the panel can tell.

    Args:
        identity: who signs what it reads.

    Attributes:
        app: to serve. fids: granted with each request. bodies: likewise. headers: likewise.
        act: done with each id before the answer, which it may replace.
    """

    def __init__(self, identity: IdentitySigner) -> None:
        self.app = FastAPI()
        self.fids: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.act: Act | None = None
        self._identity = identity
        self.app.get("/", summary="Launch", openapi_extra=FLOW)(self._form)
        self.app.api_route("/", methods=["POST", "PUT"], include_in_schema=False)(self._launch)
        self.app.post("/other", include_in_schema=False)(self._launch)

    async def _form(self) -> dict[str, Any]:
        return {"elements": []}

    async def _launch(self, request: Request) -> Response:
        body = await request.body()
        grant = self._identity.granted(request.headers[GRANT_HEADER])
        assert grant is not None and grant.launches
        self.fids.append(grant.fid)
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        answer = await self.act(grant.fid) if self.act is not None else None
        return answer or launched(grant.fid, len(self.fids))


def launched(fid: str, number: int = 0, **headers: str) -> Response:
    """The answer to a form that launched a run."""
    return JSONResponse({"result": fid, "number": number}, headers={"kodosumi_launch": fid} | headers)


def held(begun: asyncio.Event, go_on: asyncio.Event) -> Act:
    """Says that a request has come, and answers it when it may."""

    async def act(fid: str) -> None:
        begun.set()
        await go_on.wait()

    return act
