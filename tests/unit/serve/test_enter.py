"""``@app.enter``: the form it shows, what it calls, and every answer it gives."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse

from kodosumi import forms as F
from kodosumi.error import BadEntryPoint, BadInputs, LaunchUnavailable
from kodosumi.forms import InputsError
from kodosumi.launch import LaunchResponse
from kodosumi.serve import ServeAPI

from .conftest import FID, Client, launch

FORM = F.Model(
    F.Errors(),
    F.InputText("name", label="Name", required=True),
    F.Checkbox("box"),
    F.Select("pick", [F.InputOption("a"), F.InputOption("b")]),
    F.Submit("go"),
)


def app_with(handler: Callable[..., Any], model: F.Model = FORM, **keywords: Any) -> ServeAPI:
    app = ServeAPI()
    assert app.enter("/", model, **keywords)(handler) is handler
    return app


async def post(client_of: Client, handler: Callable[..., Any], body: Any = None) -> Any:
    async with client_of(app_with(handler)) as client:
        return await client.post("/", json={"name": "x"} if body is None else body)


async def test_get_gives_every_keyword_and_the_elements(client_of: Client) -> None:
    extra = {"x-own": 1}
    app = app_with(
        lambda: None, summary="S", tags=["T"], author="A", organization="O", version="1", openapi_extra=extra
    )
    async with client_of(app) as client:
        answer = (await client.get("/")).json()
        paths = (await client.get("/openapi.json")).json()["paths"]["/"]
    folded = {"x-own": 1, "x-kodosumi": True, "x-author": "A", "x-organization": "O", "x-version": "1"}
    assert answer.pop("elements") == FORM.get_model()
    assert answer.pop("openapi_extra") == folded
    assert answer == {"summary": "S", "tags": ["T"], "author": "A", "organization": "O", "version": "1"}
    assert folded.items() <= paths["get"].items() and paths["post"]["x-kodosumi"] is False
    assert extra == {"x-own": 1}


async def test_get_shows_keywords_that_are_no_json_by_name(client_of: Client) -> None:
    app = app_with(lambda: None, response_class=JSONResponse, responses={404: {"description": "gone"}})
    async with client_of(app) as client:
        answer = (await client.get("/")).json()
    assert answer["response_class"] == "JSONResponse" and answer["responses"]["404"]


async def test_a_launch_answers_with_its_id(client_of: Client) -> None:
    answer = await post(client_of, lambda: launch())
    assert answer.status_code == 200
    assert answer.json() == {"result": FID, "elements": FORM.get_model()}
    assert answer.headers["kodosumi_launch"] == answer.headers["kodosumi-launch"] == FID


async def test_the_handler_gets_parsed_inputs_of_all_named_elements_and_the_request(client_of: Client) -> None:
    got: dict[str, Any] = {}

    async def handler(request: Request, *, inputs: dict[str, Any], other: str = "default") -> LaunchResponse:
        got.update(inputs, path=request.url.path, other=other)
        return launch()

    await post(client_of, handler, {"name": 12, "box": "1", "pick": "b", "unknown": "x"})
    assert got == {"_global_": None, "name": 12, "box": True, "pick": "b", "path": "/", "other": "default"}


async def test_the_answer_waits_until_the_run_is_accepted(client_of: Client) -> None:
    acceptance: Future[None] = Future()
    called = asyncio.Event()

    async def handler() -> LaunchResponse:
        called.set()
        return LaunchResponse(FID, acceptance)

    async with client_of(app_with(handler)) as client:
        answering = asyncio.ensure_future(client.post("/", json={"name": "x"}))
        await called.wait()
        assert not (await asyncio.wait({answering}, timeout=0.05))[0]
        acceptance.set_result(None)
        assert (await answering).json()["result"] == FID


@pytest.mark.parametrize("raised_by", ["handler", "acceptance"])
@pytest.mark.parametrize(
    ("problem", "status"), [(LaunchUnavailable("no Ray"), 503), (BadInputs("lock"), 400), (BadEntryPoint("x"), 400)]
)
async def test_a_launch_that_cannot_be_accepted_says_why(
    client_of: Client, problem: Exception, status: int, raised_by: str
) -> None:
    def handler() -> LaunchResponse:
        if raised_by == "handler":
            raise problem
        return launch(problem)

    answer = await post(client_of, handler)
    assert (answer.status_code, answer.json()) == (status, {"detail": str(problem)})
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "kodosumi_launch" not in answer.headers


async def test_an_inputs_error_comes_back_field_by_field(client_of: Client) -> None:
    def handler() -> None:
        raise InputsError("sorry", 3, name="bad")

    answer = await post(client_of, handler)
    assert answer.status_code == 200
    assert answer.json() == {"errors": {"name": ["bad"], "_global_": ["sorry", "3"]}, "elements": FORM.get_model()}


async def test_a_message_that_utf8_cannot_hold_comes_back_all_the_same(client_of: Client) -> None:
    def handler(inputs: dict[str, Any]) -> None:
        raise InputsError(name=f"not {inputs['name']}")

    async with client_of(app_with(handler)) as client:
        answer = await client.post("/", content=json.dumps({"name": "\ud800"}))
    assert answer.json()["errors"]["name"] == ["not \ufffd"]


async def test_a_broken_declaration_comes_back_without_calling_the_endpoint(client_of: Client) -> None:
    def handler() -> None:
        raise AssertionError("called")

    answer = await post(client_of, handler, {"name": "", "pick": "c"})
    assert answer.status_code == 200
    assert answer.json()["errors"] == {
        "_global_": [],
        "name": ["Please fill in this field."],
        "pick": ["Please choose one of the options."],
    }


@pytest.mark.parametrize("problem", [ValueError("bad"), HTTPException(403, "no"), KeyError("x")])
async def test_any_other_exception_is_named_without_a_traceback(
    client_of: Client, problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler() -> None:
        raise problem

    answer = await post(client_of, handler)
    assert (answer.status_code, answer.json()) == (500, {"detail": repr(problem)})
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("returned", [None, "text", {"headers": {}}, JSONResponse({}), type("X", (), {"headers": 1})()])
async def test_an_answer_that_is_no_launch_is_refused(client_of: Client, returned: Any) -> None:
    answer = await post(client_of, lambda: returned)
    assert answer.status_code == 400
    assert answer.json() == {"detail": "kodosumi endpoint must return a Launch object or raise an InputsError"}


@pytest.mark.parametrize("name", ["kodosumi_launch", "kodosumi-launch"])
async def test_any_answer_with_the_launch_header_is_a_launch(client_of: Client, name: str) -> None:
    answer = await post(client_of, lambda: JSONResponse({}, headers={name: FID}))
    assert answer.json()["result"] == FID


async def test_plain_handlers_run_beside_each_other_and_leave_the_loop_free(client_of: Client) -> None:
    together = threading.Barrier(4, timeout=20)

    def handler() -> LaunchResponse:
        # Only passes when three handlers and the loop are here at the same time.
        together.wait()
        return launch()

    async with client_of(app_with(handler)) as client:
        posts = [asyncio.ensure_future(client.post("/", json={"name": "x"})) for _ in range(3)]
        await asyncio.to_thread(together.wait)
        assert (await client.get("/")).status_code == 200
        assert {answer.status_code for answer in await asyncio.gather(*posts)} == {200}


async def test_a_decorated_coroutine_function_is_awaited(client_of: Client) -> None:
    async def handler(inputs: dict[str, Any]) -> LaunchResponse:
        return launch()

    @functools.wraps(handler)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    class Callable_:
        async def __call__(self, inputs: dict[str, Any]) -> LaunchResponse:
            return launch()

    for function in (decorated, Callable_(), functools.partial(handler)):
        assert (await post(client_of, function)).json()["result"] == FID


def test_a_handler_that_could_never_be_called_is_told_when_it_is_declared() -> None:
    def handler(inputs: dict[str, Any], database: object) -> None: ...

    with pytest.raises(TypeError, match="needs database"):
        app_with(handler)


async def test_a_request_changes_neither_form_nor_answer_of_the_next(client_of: Client) -> None:
    async def handler(inputs: dict[str, Any]) -> LaunchResponse:
        inputs.clear()
        return launch()

    before = FORM.get_model_json()
    async with client_of(app_with(handler, summary="S")) as client:
        shown = (await client.get("/")).json()
        await client.post("/", json={"name": "other", "box": True, "pick": "b"})
        await client.post("/", json={"name": "", "pick": "z"})
        assert (await client.get("/")).json() == shown
    assert FORM.get_model_json() == before


async def test_positional_extras_are_ignored(client_of: Client) -> None:
    app = ServeAPI()
    app.enter("/", FORM, "extra", summary="S")(lambda: launch())
    async with client_of(app) as client:
        assert (await client.get("/")).json()["summary"] == "S"


def test_lock_and_lease_handlers_are_kept_by_name() -> None:
    app = ServeAPI()

    @app.lock("ask")
    def ask() -> F.Model:
        return FORM

    @app.lease("ask", summary="x")
    async def take(inputs: dict[str, Any]) -> None: ...

    assert app.locks == {"ask": ask} and app.leases == {"ask": take}
