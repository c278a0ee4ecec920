"""Apps for the panel to find: real servers on free ports."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from tests.conditions import until

FLOW = {"x-kodosumi": True}
FID = "0123456789abcdef01234567"


class Source:
    """An app served at a port; it may stop and come back at the same port.

    Attributes:
        app: what is served. port: where, from the first start on.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.port = 0
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openapi(self) -> str:
        return f"{self.url}/openapi.json"

    @property
    def place(self) -> str:
        return f"/-/127.0.0.1/{self.port}/-"

    async def start(self) -> Source:
        config = uvicorn.Config(
            self.app,
            host="127.0.0.1",
            port=self.port,
            lifespan="off",
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        self._server, self._serving = server, asyncio.create_task(server._serve())
        await until(lambda: server.started)
        self.port = server.servers[0].sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = None


def flow_app(*summaries: str, **described: Any) -> FastAPI:
    """An app with a flow at ``/{number}`` for each summary."""
    app = FastAPI()

    def nothing() -> dict[str, Any]:
        return {}

    for number, summary in enumerate(summaries):
        app.get(f"/{number}", summary=summary, openapi_extra=FLOW | described)(nothing)
    return app


def echo_app() -> FastAPI:
    """An app that says what it was asked, and behaves well or badly on demand."""
    app = FastAPI()
    app.state.seen = []

    async def echo(request: Request) -> JSONResponse:
        body = await request.body()
        seen = {
            "method": request.method,
            "raw_path": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers.raw],
            "body": body.decode("utf-8", "replace"),
        }
        app.state.seen.append(seen)
        return JSONResponse(seen)

    @app.get("/", summary="Echo", openapi_extra=FLOW)
    def root() -> dict[str, Any]:
        return {"elements": []}

    @app.post("/")
    async def launch(request: Request) -> JSONResponse:
        return JSONResponse(
            {"result": FID, "inputs": (await request.body()).decode()}, headers={"kodosumi_launch": FID}
        )

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.post("/count")
    async def count(request: Request) -> PlainTextResponse:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return PlainTextResponse(str(size))

    @app.get("/big/{chunks}")
    async def big(chunks: int) -> StreamingResponse:
        async def content() -> Any:
            for _ in range(chunks):
                yield b"x" * 65_536

        return StreamingResponse(content())

    @app.get("/headers")
    async def headers() -> PlainTextResponse:
        given = {
            "Clear-Site-Data": '"cookies"',
            "Access-Control-Allow-Origin": "*",
            "Content-Security-Policy": "script-src *",
            "Connection": "x-private",
            "X-Private": "1",
            "X-Public": "2",
        }
        response = PlainTextResponse("<script>alert(1)</script>", headers=given, media_type="text/html")
        response.set_cookie("kodosumi_jwt", "stolen")
        response.set_cookie("other", "1")
        return response

    @app.get("/redirect")
    async def redirect(to: str) -> PlainTextResponse:
        return PlainTextResponse("", 307, headers={"Location": to})

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
    app.api_route("/echo/{path:path}", methods=methods, include_in_schema=False)(echo)
    return app


async def register(admin: httpx.AsyncClient, *urls: str) -> list[dict[str, Any]]:
    """Registers sources as the operator; returns their flows."""
    answer = await admin.post("/flow/register", json={"url": list(urls)})
    assert answer.status_code == 201, answer.text
    return answer.json()
