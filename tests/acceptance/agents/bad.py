"""An app whose every endpoint does something wrong; the tests say what must come of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastapi import Request

from kodosumi.core import Launch, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI(title="bad")

RUNS = {
    "unknown_module": "no_such_module:run",
    "unknown_name": "agents.entries:no_such_name",
    "unknown_nested": "agents.entries:Sulking.no.such",
    "raises_on_import": "agents.raises_on_import:run",
    "not_callable": "agents.entries:NOT_CALLABLE",
    "a_path": "../../etc/passwd:run",
    "a_dotted_path": "..agents.entries:echo",
    "invalid_name": "agents.entries:\ud800\0",
    **{
        name: f"agents.entries:{name}"
        for name in (
            "unserialisable",
            "sulking",
            "big_result",
            "long_line",
            "invalid_utf8",
            "paths",
            "exits",
            "without_text",
            "unspeakable",
            "invalid_error",
        )
    },
}
"""Entry point of each endpoint under ``/run/``."""


def _launching(entry_point: str) -> Callable[..., Any]:
    async def endpoint(request: Request) -> Any:
        return Launch(request, entry_point, inputs={})

    return endpoint


for _name, _entry_point in RUNS.items():
    app.enter(f"/run/{_name}", F.Model(), summary=f"Bad: {_name}")(_launching(_entry_point))


@app.enter("/refused/nothing", F.Model())
async def nothing() -> None:
    """Returns nothing."""


@app.enter("/refused/text", F.Model())
async def text() -> str:
    """Returns what is no launch."""
    return "ok"


@app.enter("/refused/bare_name", F.Model())
async def bare_name(request: Request) -> Any:
    """Names an entry point without a module."""
    return Launch(request, "run", inputs={})


@app.enter("/refused/inputs", F.Model())
async def unsendable(request: Request) -> Any:
    """Hands over inputs that cannot be sent."""
    return Launch(request, "agents.entries:echo", inputs={"lock": threading.Lock()})


@app.enter("/refused/callable", F.Model())
async def unsendable_callable(request: Request) -> Any:
    """Hands over an entry point that cannot be sent."""
    lock = threading.Lock()
    return Launch(request, lambda: lock, inputs={})


@app.enter(
    "/echo",
    F.Model(F.InputText(name="../a/b\\c", label="a path"), F.InputArea(name="text"), F.Submit()),
    summary="../../etc/passwd",
    author="a/b",
    tags=["../tag", "tag/sub"],
)
async def echo(request: Request, inputs: dict[str, Any]) -> Any:
    """Starts a run that gives back what came in."""
    return Launch(request, "agents.entries:echo", inputs=inputs, summary=f"../{inputs['text']}")
