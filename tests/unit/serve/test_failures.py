"""Failures of an app's own routes, and its pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from kodosumi.serve import ServeAPI, Templates
from kodosumi.serve.templates import PANEL_TEMPLATES

from .conftest import Client


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_failing_route_answers_500_and_the_log_has_the_traceback(
    client_of: Client, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = ServeAPI()

    async def fail_async() -> None:
        raise RuntimeError("broken")

    def fail() -> None:
        raise RuntimeError("broken")

    app.get("/")(fail_async if kind == "async" else fail)
    async with client_of(app) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()) == (500, {"detail": "RuntimeError('broken')"})
    assert caplog.text.count("Traceback") == 1


async def test_a_failing_middleware_of_the_author_is_answered_too(client_of: Client) -> None:
    app = ServeAPI()

    @app.middleware("http")
    async def fail(request: Request, call_next: object) -> Response:
        raise RuntimeError(request.state.user)

    async with client_of(app) as client:
        assert (await client.get("/")).json() == {"detail": "RuntimeError('_annon_')"}


@pytest.mark.parametrize("key", [Exception, 500, ValueError])
async def test_the_authors_own_handler_comes_first(client_of: Client, key: type[Exception] | int) -> None:
    async def handle(request: Request, exc: Exception) -> Response:
        return JSONResponse({"own": True}, 418)

    for app in (ServeAPI(exception_handlers={key: handle}), ServeAPI()):
        app.add_exception_handler(key, handle)

        @app.get("/")
        async def fail() -> None:
            raise ValueError

        async with client_of(app) as client:
            assert (await client.get("/")).status_code == 418


async def test_http_exceptions_stay_what_they_are(client_of: Client) -> None:
    app = ServeAPI()

    @app.get("/")
    async def refuse() -> None:
        raise HTTPException(403, "no")

    async with client_of(app) as client:
        assert (await client.get("/")).json() == {"detail": "no"}
        assert (await client.get("/missing")).status_code == 404


async def test_half_an_answer_is_not_passed_off_as_a_whole_one(client_of: Client) -> None:
    app = ServeAPI()

    @app.get("/")
    async def stream() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"half"
            raise RuntimeError("broken")

        return StreamingResponse(parts())

    async with client_of(app) as client:
        with pytest.raises(RuntimeError, match="broken"):
            await client.get("/")


def test_templates_build_on_the_panels_and_reach_its_assets(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ static('kodosumi.css') }} {{ '<b>' }}")
    (tmp_path / "base.html").write_text("not the panel's")
    templates = Templates(directory=tmp_path)
    for made in (templates, cloudpickle.loads(cloudpickle.dumps(templates))):
        assert made.get_template("own.html").render() == "/static/kodosumi.css &lt;b&gt;"
        assert made.get_template("base.html").filename == str(PANEL_TEMPLATES / "base.html")
    assert Templates(directory=[str(tmp_path)]).get_template("own.html")
