"""Files that come with a form: what the endpoint gets, and that they are in place before its run begins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from kodosumi import forms as F
from kodosumi.config import process_settings
from kodosumi.core import InputsError, Launch
from kodosumi.runner.spec import UploadedFile
from kodosumi.serve import ServeAPI, uploads
from tests.conditions import until

from .conftest import Client, NotedMode
from .panel import FID, FilesDoor, KnownKeys, listed, vouched

ENTRY_POINT = "somewhere:entry"


def app_with(*fields: F.InputFiles, handler: Callable[..., Any] | None = None) -> ServeAPI:
    app = ServeAPI()
    app.caller_keys = KnownKeys()

    def launching(request: Request, inputs: dict[str, Any]) -> Any:
        return Launch(request, ENTRY_POINT, inputs=inputs)

    app.enter("/", F.Model(*fields, F.InputText("text"), F.Submit("go")))(handler or launching)
    return app


async def post(client_of: Client, app: ServeAPI, values: dict[str, Any], panel_url: str) -> Any:
    async with client_of(app) as client:
        return await client.post("/", json=values, headers=vouched("POST", "/", panel_url=panel_url))


async def test_files_are_in_place_before_the_run_begins(client_of: Client, mode: NotedMode, door: FilesDoor) -> None:
    got: list[Any] = []

    def handler(request: Request, inputs: dict[str, Any]) -> Any:
        got.append(inputs)
        return Launch(request, ENTRY_POINT)

    door.before = asyncio.Event()
    app = app_with(
        F.InputFiles("f", multiple=True), F.InputFiles("g", directory=True), F.InputFiles("h"), handler=handler
    )
    values = {"f": listed("a.txt", "ä.txt"), "g": listed("x/b.txt", batch="c" * 32), "h": "", "text": "t"}
    answering = asyncio.ensure_future(post(client_of, app, values, door.url))
    await until(lambda: door.asked)
    assert not answering.done() and mode.specs == []
    door.before.set()
    answer = await answering
    assert answer.json()["result"] == FID
    assert got == [{"f": {"a.txt", "ä.txt"}, "g": {"x/b.txt"}, "h": None, "text": "t"}]
    assert door.asked == [(FID, "b" * 32, ("a.txt", "ä.txt")), (FID, "c" * 32, ("x/b.txt",))]
    assert {grant.fid for grant in door.grants} == {FID}
    names = ["in/a.txt", "in/x/b.txt", "in/ä.txt"]
    assert mode.specs[0].uploads == tuple(UploadedFile(name, 5, 1.5) for name in names)


async def test_a_form_without_files_asks_the_panel_for_nothing(client_of: Client, mode: NotedMode) -> None:
    for nothing in ("", None, '{"items": {}}'):
        answer = await post(client_of, app_with(F.InputFiles("f")), {"f": nothing}, "http://127.0.0.1:9")
        assert answer.json()["result"] == FID
    assert [spec.uploads for spec in mode.specs] == [()] * 3


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (JSONResponse({"detail": "a.txt: 1 of 2 chunks are there."}, 400), "a.txt: 1 of 2 chunks are there."),
        (PlainTextResponse("no", 502), "502"),
        (RedirectResponse("http://127.0.0.1:9/elsewhere"), "307"),
        (PlainTextResponse("fine", 201), "unknown way"),
    ],
)
async def test_a_failed_completion_fails_the_launch_with_the_reason(
    client_of: Client, mode: NotedMode, door: FilesDoor, said: Response, reason: str
) -> None:
    door.answer = said
    answer = await post(client_of, app_with(F.InputFiles("f")), {"f": listed("a.txt")}, door.url)
    assert answer.status_code == 400 and reason in answer.json()["detail"]
    assert "kodosumi_launch" not in answer.headers and mode.specs == []


async def test_an_unreachable_panel_fails_the_launch_with_the_reason(client_of: Client, mode: NotedMode) -> None:
    for url in ("http://127.0.0.1:9", "nonsense", ""):
        answer = await post(client_of, app_with(F.InputFiles("f")), {"f": listed("a.txt")}, url)
        assert answer.status_code == 400 and f"the panel at {url} cannot be reached" in answer.json()["detail"]
    assert mode.specs == []


async def test_a_panel_that_is_too_slow_fails_the_launch(
    client_of: Client, mode: NotedMode, door: FilesDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_settings(), "proxy_timeout", 0.2)
    monkeypatch.setattr(uploads, "COMPLETION_TIMEOUT_S", 0.2)
    door.before = asyncio.Event()
    answer = await post(client_of, app_with(F.InputFiles("f")), {"f": listed("a.txt")}, door.url)
    door.before.set()
    assert answer.status_code == 400 and "Timeout" in answer.json()["detail"]


async def test_files_sent_to_an_app_without_a_panel_are_refused_with_what_to_do(client_of: Client) -> None:
    def handler() -> None:
        raise AssertionError("called")

    async with client_of(app_with(F.InputFiles("f"), handler=handler)) as client:
        direct = await client.post("/", json={"f": listed("a.txt")})
        multipart = await client.post("/", files={"f": ("a.txt", b"content")})
        lock_key = await client.post("/", json={"f": "x"}, headers=vouched("POST", "/", launches=False))
    for answer in (direct, multipart, lock_key):
        assert answer.status_code == 400
        assert process_settings().app_server in answer.json()["detail"] and "/files/init" in answer.json()["detail"]


async def test_an_empty_file_field_of_a_multipart_form_needs_no_panel(client_of: Client, mode: NotedMode) -> None:
    async with client_of(app_with(F.InputFiles("f"))) as client:
        answer = await client.post("/", files={"f": ("", b""), "text": (None, "t")})
    assert answer.status_code == 200 and mode.specs


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ("a.txt", "upload the files first"),
        (listed("../a.txt"), "cannot be used"),
        (listed("a.txt", "b.txt"), "one file"),
        (listed("x/a.txt"), "not a folder"),
    ],
)
async def test_a_list_that_breaks_the_declaration_comes_back_at_its_field(
    client_of: Client, mode: NotedMode, sent: str, problem: str
) -> None:
    answer = await post(client_of, app_with(F.InputFiles("f", required=True)), {"f": sent}, "http://127.0.0.1:9")
    assert answer.status_code == 200 and problem in answer.json()["errors"]["f"][0]
    missing = await post(client_of, app_with(F.InputFiles("f", required=True)), {}, "http://127.0.0.1:9")
    assert missing.json()["errors"]["f"] == ["Please fill in this field."]


async def test_two_fields_with_a_file_of_one_name_would_lose_one(client_of: Client, mode: NotedMode) -> None:
    app = app_with(F.InputFiles("f"), F.InputFiles("g", multiple=True))
    answer = await post(client_of, app, {"f": listed("a.txt"), "g": listed("b.txt", "a.txt")}, "http://127.0.0.1:9")
    assert answer.json()["errors"] == {
        "_global_": [],
        "g": ["Another field has a.txt as well: please rename one of them."],
    }


async def test_an_endpoint_that_refuses_its_inputs_leaves_the_uploads_alone(client_of: Client, door: FilesDoor) -> None:
    def handler() -> None:
        raise InputsError(text="no")

    answer = await post(client_of, app_with(F.InputFiles("f"), handler=handler), {"f": listed("a.txt")}, door.url)
    assert answer.json()["errors"]["text"] == ["no"] and door.asked == []


async def test_only_the_first_launch_of_a_request_gets_its_files(
    client_of: Client, mode: NotedMode, door: FilesDoor
) -> None:
    def handler(request: Request) -> Any:
        with pytest.raises(ValueError, match="name a module"):
            Launch(request, "nothing")
        with pytest.raises(ValueError, match="cannot be sent"):
            Launch(request, ENTRY_POINT, inputs=threading.Lock())
        first = Launch(request, ENTRY_POINT)
        Launch(request, ENTRY_POINT)
        return first

    answer = await post(client_of, app_with(F.InputFiles("f"), handler=handler), {"f": listed("a.txt")}, door.url)
    assert answer.json()["result"] == FID
    await until(lambda: len(mode.specs) == 2)
    second, first = sorted(mode.specs, key=lambda spec: spec.fid == FID)
    assert first.files.token and first.uploads
    assert second.fid != FID and second.uploads == ()
    assert (second.files.panel_url, second.files.token, second.files.root) == (door.url, "", "")
    assert len(door.asked) == 1
