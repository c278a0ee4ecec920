"""The walk-through of the development guide: its form, its endpoint, and how clients talk to them."""

from __future__ import annotations

from typing import Any

import cloudpickle
import fastapi
import pytest

from kodosumi.core import InputsError, ServeAPI
from kodosumi.core import forms as F

from .conftest import FID, Client, launch

LIMIT = 500


def calculator(started: list[Any]) -> ServeAPI:
    app = ServeAPI()
    form = F.Model(
        F.Markdown("""
        # Calculator
        Choose how many tasks to run. Each takes a second or two.
        """),
        F.Break(),
        F.InputText(label="Tasks to run", name="tasks", value="25"),
        F.Submit("Submit"),
        F.Cancel("Cancel"),
    )

    @app.enter(
        path="/",
        model=form,
        summary="Calculator",
        description="Waits, mostly.",
        tags=["Test"],
        version="1.0.0",
        author="someone@example.com",
    )
    async def enter(request: fastapi.Request, inputs: dict[str, Any]) -> Any:
        tasks = inputs.get("tasks", 0)
        error = InputsError()
        if not tasks:
            error.add(tasks="How many tasks?")
        if isinstance(tasks, str):
            tasks = int(tasks or 0)
        if (tasks or 0) > LIMIT:
            error.add(tasks=f"{LIMIT} tasks at most")
        if error.has_errors():
            raise error
        started.append(tasks)
        return launch()

    return app


async def test_the_scheme_of_the_inputs_can_be_retrieved(client_of: Client) -> None:
    async with client_of(calculator([])) as client:
        answer = (await client.get("/")).json()
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert [element["type"] for element in answer["elements"]] == ["markdown", "break", "text", "submit", "cancel"]
    assert answer["elements"][2]["value"] == "25"
    assert paths["/"]["get"]["x-author"] == "someone@example.com"


@pytest.mark.parametrize(
    ("sent", "tasks"),
    [
        ({"content": '{"tasks": 100}', "headers": {"content-type": "application/x-www-form-urlencoded"}}, 100),
        ({"json": {"tasks": "100"}}, 100),
        ({"data": {"tasks": "7"}}, 7),
        ({"files": {"tasks": (None, "7")}}, 7),
    ],
    ids=["as curl -d sends it", "json", "form", "multipart"],
)
async def test_a_request_starts_a_run(client_of: Client, sent: dict[str, Any], tasks: int) -> None:
    started: list[Any] = []
    async with client_of(calculator(started)) as client:
        answer = await client.post("/", **sent)
    assert answer.json()["result"] == answer.headers["kodosumi_launch"] == FID
    assert started == [tasks]


async def test_a_body_that_cannot_be_read_starts_nothing(client_of: Client) -> None:
    started: list[Any] = []
    async with client_of(calculator(started)) as client:
        answer = await client.post("/", content='{"tasks": 100')
    assert answer.status_code == 400 and "JSON object" in answer.json()["detail"]
    assert started == []


@pytest.mark.parametrize("tasks", ["", None, 0, 501, "501"])
async def test_messages_come_back_to_be_shown_in_the_form(client_of: Client, tasks: Any) -> None:
    async with client_of(cloudpickle.loads(cloudpickle.dumps(calculator([])))) as client:
        answer = (await client.post("/", json={"tasks": tasks})).json()
    model = F.Model.model_validate(answer["elements"], answer["errors"])
    model.set_data({"tasks": tasks})
    page = model.render()
    assert 'aria-invalid="true"' in page
    assert answer["errors"]["tasks"][0] in page
