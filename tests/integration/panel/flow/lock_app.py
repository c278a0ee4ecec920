"""An app with locks, as the published routes have them, and the executions whose locks they are."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from kodosumi import forms
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.service.context import Panel
from tests.integration.panel.flow.apps import FLOW, Source

FORM = forms.Model(
    forms.InputText(name="comment", label="Comment"),
    forms.Checkbox(name="approve", option="Approve"),
    forms.Submit("Go"),
)
_OFFSETS = itertools.count(1)


def lock_app() -> FastAPI:
    """Holds what runs and apps know of locks: which are open. ``state.seen`` has the requests, ``state.answers`` all
    accepted fields; ``state.next`` is answered instead when it is set.
    """
    app = FastAPI()
    app.state.open = set()
    app.state.known = set()
    app.state.answers = []
    app.state.seen = []
    app.state.next = None
    app.get("/", summary="Waits", openapi_extra=FLOW)(lambda: {"elements": []})

    @app.get("/_lock_/{fid}/{lid}")
    async def show(fid: str, lid: str, request: Request) -> Any:
        app.state.seen.append(request.headers)
        return _refused(app, fid, lid, 404) or FORM.get_model()

    @app.post("/_lock_/{fid}/{lid}")
    async def take(fid: str, lid: str, request: Request) -> Any:
        app.state.seen.append(request.headers)
        inputs = await request.json()
        if app.state.next is not None:
            return app.state.next
        refused = _refused(app, fid, lid, 409)
        if refused is not None:
            return refused
        if not inputs.get("comment"):
            return {"errors": {"comment": ["Say <why>."], "_global_": []}, "elements": FORM.get_model()}
        app.state.open.discard(lid)
        app.state.answers.append(inputs)
        return {"result": inputs, "elements": FORM.get_model()}

    return app


def _refused(app: FastAPI, fid: str, lid: str, released: int) -> JSONResponse | None:
    if lid in app.state.open:
        return None
    if lid in app.state.known:
        return JSONResponse({"detail": f"Lock {lid} for {fid} released."}, released)
    return JSONResponse({"detail": f"Lock {lid} for {fid} not found."}, 404)


class Waiting:
    """A run of a user that waits for answers.

    Args:
        panel: where it is stored. owner: role id of its user. source: its app.
    """

    def __init__(self, panel: Panel, owner: str, source: Source) -> None:
        self.fid = new_fid()
        self._panel, self._owner, self._source = panel, owner, source

    async def begin(self, app_url: str | None = None) -> Waiting:
        url = self._source.url if app_url is None else app_url
        meta = {"dict": {"fid": self.fid, "app_url": url, "summary": "My run"}}
        await self.commit(("status", "starting"), ("meta", json.dumps(meta)), ("status", "running"))
        return self

    async def lock(self, *, lid: str = "", **fields: Any) -> str:
        lid = lid or str(uuid.uuid4())
        self._source.app.state.open.add(lid)
        self._source.app.state.known.add(lid)
        value = {"name": "approve", "lid": lid, "data": None, "expires": 4e9, "assignee": None, "four_eyes": False}
        await self.commit(("lock", json.dumps({"dict": value | fields})))
        return lid

    async def lease(self, lid: str, **fields: Any) -> None:
        self._source.app.state.open.discard(lid)
        value = {"name": "approve", "lid": lid, "result": None, "at": 1.8e9}
        await self.commit(("lease", json.dumps({"dict": value | fields})))

    async def commit(self, *events: tuple[str, str]) -> None:
        batch = [Event.now(EventKind(kind), payload) for kind, payload in events]
        await self._panel.store.append(self.fid, self._owner, [Batch(Position(1, next(_OFFSETS)), batch)])
        self._panel.hub._wake([self.fid])
