"""``/_lock_/{fid}/{lid}``: the form of a lock that waits in a living run, and every answer to what is sent for it.

The runs are real, in this process: they wait in ``tracer.lock`` until they are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import cloudpickle
import httpx
import pytest
from fastapi import Depends, HTTPException, Request

from kodosumi import forms as F
from kodosumi.core import InputsError, Launch
from kodosumi.error import LaunchUnavailable, PayloadTooLarge
from kodosumi.events import Event, new_fid
from kodosumi.serve import ServeAPI
from tests.conditions import until

from .conftest import NotedMode, only_launcher
from .panel import FID, FilesDoor, KnownKeys, listed, vouched

FORM = F.Model(F.Errors(), F.InputText("name", required=True), F.Checkbox("yes"), F.InputFiles("files"), F.Submit("go"))
DATA = {"question": "ok?", "at": [1, None]}


async def asks(inputs: dict[str, Any], tracer: Any) -> dict[str, Any]:
    answers = await asyncio.gather(*(tracer.lock(name, DATA) for name in inputs["locks"]))
    return {"types": [type(answer).__name__ for answer in answers], "values": answers}


class Waiting:
    """A run that waits in locks.

    Attributes:
        fid: its id. owner: its user, or None without a panel. lids: of its locks, by name.
    """

    def __init__(self, client: httpx.AsyncClient, mode: NotedMode, fid: str, owner: str | None) -> None:
        self.client = client
        self.fid = fid
        self.owner = owner
        self.events: list[Event] = []
        self._consumer = mode._transport.consumer()

    @property
    def lids(self) -> dict[str, str]:
        return {lock["name"]: lock["lid"] for lock in self.told("lock")}

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(event.payload)["dict"] for event in self.events if event.kind == kind]

    async def until(self, holds: Callable[[], object]) -> None:
        """Reads events until a condition holds."""
        while not holds():
            for delivery in await self._consumer.take(100, 10.0):
                self.events += [event for batch in delivery.batches for event in batch.events]
                await self._consumer.ack({delivery.fid: delivery.batches[-1].position})

    async def result(self) -> dict[str, Any]:
        """What the run returned."""
        await self.until(lambda: any(event.ends_execution for event in self.events))
        return self.told("final")[0]

    def path(self, name: str = "approve", lid: str | None = None) -> str:
        return f"/_lock_/{self.fid}/{lid or self.lids[name]}"

    async def get(self, name: str = "approve", *, lid: str | None = None, **headers: Any) -> httpx.Response:
        path = self.path(name, lid)
        return await self.client.get(path, headers=self._headers("GET", path, headers))

    async def post(self, values: Any = None, name: str = "approve", **headers: Any) -> httpx.Response:
        path = self.path(name)
        values = {"name": "x"} if values is None else values
        return await self.client.post(path, json=values, headers=self._headers("POST", path, headers))

    def _headers(self, method: str, path: str, given: dict[str, Any]) -> dict[str, str]:
        if self.owner is None:
            return {}
        return vouched(method, path, **{"fid": self.fid, "launches": False, "user": "bob", **given})


Waiter = Callable[..., contextlib.AbstractAsyncContextManager[Waiting]]


@pytest.fixture
def waiting(mode: NotedMode) -> Waiter:
    """Starts a run of an app that waits in locks of these names, and ends it."""

    @contextlib.asynccontextmanager
    async def started(app: ServeAPI, *names: str, owner: str | None = "alice") -> AsyncIterator[Waiting]:
        mode.runs = True
        app.caller_keys = KnownKeys()
        names = names or ("approve",)
        app.enter("/", F.Model())(lambda request: Launch(request, asks, inputs={"locks": names}))
        headers = {} if owner is None else vouched("POST", "/", user=owner, fid=new_fid())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.test:8000") as client:
            fid = (await client.post("/", json={}, headers=headers)).json()["result"]
            run = Waiting(client, mode, fid, owner)
            try:
                await run.until(lambda: len(run.lids) == len(names))
                yield run
            finally:
                await app_ended(mode, fid)

    return started


async def app_ended(mode: NotedMode, fid: str) -> None:
    await only_launcher().ask(mode.cancel(fid, "the test"))
    await until(lambda: not mode._runs)


def app_with(lock: Callable[..., Any] | None = None, lease: Callable[..., Any] | None = None) -> ServeAPI:
    app = ServeAPI()
    app.lock("approve")(lock or (lambda: FORM))
    if lease is not None:
        app.lease("approve")(lease)
    return app


# the form ---------------------------------------------------------------------------------------------------------


async def test_a_lock_is_shown_as_the_elements_that_its_handler_gives(waiting: Waiter) -> None:
    got: list[Any] = []

    async def form(data: Any, request: Request, more: int = 1) -> F.Model:
        got.append((data, request.state.user))
        return F.Model(F.Markdown(data["question"]), F.Submit("go"))

    async with waiting(app_with(form)) as run:
        answer = await run.get()
    assert answer.status_code == 200
    assert answer.json() == F.Model(F.Markdown("ok?"), F.Submit("go")).get_model()
    assert got == [(DATA, "bob")]


async def test_a_plain_handler_runs_beside_others_and_leaves_the_loop_free(waiting: Waiter) -> None:
    together = threading.Barrier(3, timeout=20)

    def form() -> F.Model:
        together.wait()
        return FORM

    async with waiting(app_with(form)) as run:
        asking = [asyncio.ensure_future(run.get()) for _ in range(2)]
        await asyncio.to_thread(together.wait)
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}


@pytest.mark.parametrize("returned", [None, [], {"elements": []}, F.InputText("x")])
async def test_a_handler_that_gives_no_form_is_named(waiting: Waiter, returned: Any) -> None:
    def the_form() -> Any:
        return returned

    async with waiting(app_with(the_form)) as run:
        for answer in (await run.get(), await run.post()):
            assert answer.status_code == 500
            assert "the_form" in answer.json()["detail"] and "must return a forms.Model" in answer.json()["detail"]
        assert "lease" not in {event.kind for event in run.events}


@pytest.mark.parametrize("problem", [ValueError("bad"), HTTPException(403), LaunchUnavailable("x"), InputsError("y")])
async def test_a_handler_that_fails_is_answered_without_a_traceback(waiting: Waiter, problem: Exception) -> None:
    def form() -> Any:
        raise problem

    async with waiting(app_with(form)) as run:
        for answer in (await run.get(), await run.post()):
            assert (answer.status_code, answer.json()) == (500, {"detail": repr(problem)})


async def test_a_lock_whose_handler_is_gone_is_told(waiting: Waiter) -> None:
    app = app_with()
    async with waiting(app) as run:
        app.locks.clear()
        answer = await run.get()
        assert answer.status_code == 500 and "no @app.lock('approve')" in answer.json()["detail"]


async def test_unknown_runs_and_locks_are_not_found(waiting: Waiter) -> None:
    async with waiting(app_with()) as run:
        other = await run.get(lid="nope")
        assert (other.status_code, other.json()) == (404, {"detail": f"Lock nope for {run.fid} not found."})
        fid, lid = run.fid, run.lids["approve"]
        run.fid = new_fid()
        for answer in (await run.get(lid=lid), await run.post()):
            assert (answer.status_code, answer.json()) == (404, {"detail": f"Execution {run.fid} not found."})
        run.fid = fid


async def test_the_routes_are_in_no_document(waiting: Waiter) -> None:
    app = app_with()
    assert "_lock_" not in json.dumps(app.openapi())


# answers ----------------------------------------------------------------------------------------------------------


async def test_without_a_lease_handler_the_inputs_are_the_result(waiting: Waiter) -> None:
    async with waiting(app_with()) as run:
        answer = await run.post({"name": 5, "yes": "on", "unknown": [1]})
        expected = {"name": 5, "yes": True, "unknown": [1], "files": None, "_global_": None}
        assert answer.status_code == 200
        assert answer.json() == {"result": expected, "elements": FORM.get_model()}
        assert (await run.result())["values"] == [expected]
        (lease,) = run.told("lease")
        assert (lease["result"], lease["by"], lease["name"]) == (expected, "bob", "approve")
        assert lease["at"] > 0


@pytest.mark.parametrize("result", [None, False, 0, "", [], {"a": 1}, "text"])
async def test_what_a_lease_returns_is_what_the_run_gets(waiting: Waiter, result: Any) -> None:
    got: list[Any] = []

    def lease(data: Any, inputs: dict[str, Any], request: Request) -> Any:
        got.append((data, inputs["name"], request.state.user))
        return result

    async with waiting(app_with(lease=lease)) as run:
        answer = await run.post()
        assert answer.json()["result"] == result
        assert (await run.result())["values"] == [result]
    assert got == [(DATA, "x", "bob")]


async def test_the_run_gets_the_object_and_others_plain_json(waiting: Waiter) -> None:
    async def lease(inputs: dict[str, Any]) -> Any:
        return {"b", "a"}

    async with waiting(app_with(lease=lease)) as run:
        assert (await run.post()).json()["result"] == ["a", "b"]
        assert (await run.result())["types"] == ["set"]


async def test_what_breaks_the_form_comes_back_at_its_field_and_calls_no_lease(waiting: Waiter) -> None:
    def lease() -> None:
        raise AssertionError("called")

    async with waiting(app_with(lease=lease)) as run:
        answer = await run.post({"name": ""})
        assert answer.status_code == 200
        assert answer.json() == {
            "errors": {"_global_": [], "name": ["Please fill in this field."]},
            "elements": FORM.get_model(),
        }
        assert (await run.get()).status_code == 200


async def test_a_lease_that_refuses_the_inputs_leaves_the_lock_open_for_the_next_answer(waiting: Waiter) -> None:
    def lease(inputs: dict[str, Any]) -> str:
        if inputs["name"] != "right":
            raise InputsError("sorry", name="wrong")
        return "taken"

    async with waiting(app_with(lease=lease)) as run:
        answer = await run.post({"name": "left"})
        assert answer.status_code == 200
        assert answer.json()["errors"] == {"name": ["wrong"], "_global_": ["sorry"]}
        assert (await run.post({"name": "right"})).json()["result"] == "taken"
        assert (await run.result())["values"] == ["taken"]
        assert len(run.told("lease")) == 1


@pytest.mark.parametrize("problem", [ValueError("bad"), KeyError("x"), LaunchUnavailable("y"), FileNotFoundError("z")])
async def test_a_lease_that_fails_leaves_the_lock_open(waiting: Waiter, problem: Exception) -> None:
    problems = [problem]

    async def lease() -> str:
        if problems:
            raise problems.pop()
        return "taken"

    async with waiting(app_with(lease=lease)) as run:
        answer = await run.post()
        assert (answer.status_code, answer.json()) == (500, {"detail": repr(problem)})
        assert (await run.post()).json()["result"] == "taken"


async def test_a_result_that_cannot_be_sent_leaves_the_lock_open_and_names_the_handler(waiting: Waiter) -> None:
    def the_lease(inputs: dict[str, Any]) -> Any:
        return threading.Lock() if inputs["name"] == "odd" else "taken"

    async with waiting(app_with(lease=the_lease)) as run:
        answer = await run.post({"name": "odd"})
        assert answer.status_code == 500 and "the_lease" in answer.json()["detail"]
        assert (await run.post()).json()["result"] == "taken"


@pytest.mark.parametrize("body", ["{", "[1]", ""])
async def test_a_body_that_cannot_be_read_answers_nothing(waiting: Waiter, body: str) -> None:
    async with waiting(app_with()) as run:
        path = run.path()
        headers = vouched("POST", path, fid=run.fid, launches=False)
        answer = await run.client.post(path, content=body, headers=headers)
        assert answer.status_code == 400 and "JSON object" in answer.json()["detail"]
        assert (await run.post()).status_code == 200


async def test_a_body_that_cannot_be_read_waits_for_nobody_and_holds_nobody_up(waiting: Waiter) -> None:
    called, go_on = asyncio.Event(), asyncio.Event()

    async def lease() -> None:
        called.set()
        await go_on.wait()
        raise F.InputsError("not like this")

    async with waiting(app_with(lease=lease)) as run:
        path = run.path()
        first = asyncio.ensure_future(run.post())
        await called.wait()
        broken = await run.client.post(path, content="{", headers=vouched("POST", path, fid=run.fid, launches=False))
        assert broken.status_code == 400 and not first.done()
        go_on.set()
        assert (await first).json()["errors"]
        assert (await run.post()).json()["errors"]


async def test_a_lock_of_two_answers_takes_the_first(waiting: Waiter) -> None:
    calls: list[str] = []

    async def lease(inputs: dict[str, Any]) -> str:
        calls.append(inputs["name"])
        await asyncio.sleep(0)
        return str(inputs["name"])

    async with waiting(app_with(lease=lease)) as run:
        released = f"Lock {run.lids['approve']} for {run.fid} released."
        answers = await asyncio.gather(*(run.post({"name": f"n{n}"}) for n in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        assert {answer.json()["detail"] for answer in answers if answer.status_code == 409} == {released}
        (won,) = (answer.json()["result"] for answer in answers if answer.status_code == 200)
        assert calls == [won] and (await run.result())["values"] == [won]


async def test_a_released_lock_is_not_found_and_takes_no_second_answer(waiting: Waiter) -> None:
    app = app_with()
    app.lock("sign")(lambda: FORM)
    async with waiting(app, "approve", "sign") as run:
        assert (await run.post()).status_code == 200
        released = {"detail": f"Lock {run.lids['approve']} for {run.fid} released."}
        shown, second = await run.get(), await run.post()
        assert (shown.status_code, shown.json()) == (404, released)
        assert (second.status_code, second.json()) == (409, released)
        assert (await run.post(name="sign")).status_code == 200
        assert len((await run.result())["values"]) == 2


async def test_an_answer_is_worked_out_to_its_end_when_the_client_hangs_up(waiting: Waiter) -> None:
    called, go_on = asyncio.Event(), asyncio.Event()

    async def lease() -> str:
        called.set()
        await go_on.wait()
        return "taken"

    app = app_with(lease=lease)
    app.lock("sign")(lambda: FORM)
    async with waiting(app, "approve", "sign") as run:
        hanging_up = asyncio.ensure_future(run.post())
        await called.wait()
        hanging_up.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hanging_up
        second = asyncio.ensure_future(run.post())
        go_on.set()
        assert (await second).status_code == 409
        assert (await run.post(name="sign")).status_code == 200
        assert (await run.result())["values"][0] == "taken"


# who may ----------------------------------------------------------------------------------------------------------


async def test_only_who_comes_from_the_panel_for_this_very_run_may_answer(waiting: Waiter) -> None:
    calls: list[Any] = []
    async with waiting(app_with(lease=lambda: calls.append(1))) as run:
        path = run.path()
        refused: list[dict[str, str]] = [
            {},
            {"x-kodosumi_user": "alice"},
            {"x-kodosumi-run": vouched("POST", path, fid=run.fid, launches=False)["x-kodosumi-run"]},
            *(
                vouched("POST", path, **given)
                for given in (
                    {"user": "alice", "fid": None},
                    {"user": "alice", "fid": run.fid, "launches": True},
                    {"user": "alice", "fid": FID, "launches": False},
                )
            ),
        ]
        for headers in refused:
            answer = await run.client.post(path, json={"name": "x"}, headers=headers)
            assert answer.status_code == 403
            assert f"/lock/{run.fid}/{run.lids['approve']}" in answer.json()["detail"]
            assert (await run.client.get(path, headers=headers)).status_code == 403
        assert calls == []


async def test_a_run_without_a_panel_takes_an_answer_from_anybody(waiting: Waiter) -> None:
    async with waiting(app_with(), owner=None) as run:
        assert (await run.get()).status_code == 200
        assert (await run.post()).status_code == 200
        await run.result()
        assert run.told("lease")[0]["by"] == "_annon_"


async def test_what_an_app_asks_of_every_request_it_asks_here_as_well(waiting: Waiter) -> None:
    def closed(request: Request) -> None:
        if request.url.path.startswith("/_lock_"):
            raise HTTPException(401, "closed")

    app = ServeAPI(dependencies=[Depends(closed)])
    app.lock("approve")(lambda: FORM)
    async with waiting(app, owner=None) as run:
        assert (await run.get()).status_code == 401


# files ------------------------------------------------------------------------------------------------------------


async def test_files_of_an_answer_are_in_place_before_the_run_goes_on(waiting: Waiter, door: FilesDoor) -> None:
    async with waiting(app_with()) as run:
        door.before = asyncio.Event()
        answering = asyncio.ensure_future(run.post({"name": "x", "files": listed("a.txt")}, panel_url=door.url))
        await until(lambda: door.asked)
        assert not answering.done() and run.told("lease") == []
        door.before.set()
        assert (await answering).json()["result"]["files"] == ["a.txt"]
        assert (await run.result())["values"][0]["files"] == ["a.txt"]
        assert door.asked == [(run.fid, "b" * 32, ("a.txt",))]
        assert (door.grants[0].fid, door.grants[0].username) == (run.fid, "bob")


async def test_files_that_cannot_be_put_in_place_leave_the_lock_open(waiting: Waiter) -> None:
    async with waiting(app_with()) as run:
        values = {"name": "x", "files": listed("a.txt")}
        answer = await run.post(values, panel_url="http://127.0.0.1:9")
        assert answer.status_code == 400 and "cannot be reached" in answer.json()["detail"]
        assert (await run.post()).status_code == 200


async def test_files_without_a_panel_are_refused_with_what_to_do(waiting: Waiter) -> None:
    async with waiting(app_with(), owner=None) as run:
        answer = await run.post({"name": "x", "files": listed("a.txt")})
        assert answer.status_code == 400 and "/files/init" in answer.json()["detail"]


# trouble ----------------------------------------------------------------------------------------------------------


async def test_a_cluster_that_cannot_be_reached_answers_503(
    waiting: Waiter, mode: NotedMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*args: Any) -> Any:
        raise LaunchUnavailable("no Ray here")

    async with waiting(app_with()) as run:
        for method in ("lock", "claim_lock"):
            with monkeypatch.context() as patch:
                patch.setattr(mode, method, unreachable)
                answer = await (run.get() if method == "lock" else run.post())
                assert (answer.status_code, answer.json()) == (503, {"detail": "no Ray here"})
                assert answer.headers["retry-after"]
        assert (await run.post()).status_code == 200


@pytest.mark.parametrize(
    ("problem", "status"), [(LaunchUnavailable("gone"), 503), (PayloadTooLarge("lease", 9, 8), 413), (OSError(), 500)]
)
async def test_an_answer_that_could_not_be_handed_over_leaves_the_lock_open(
    waiting: Waiter, mode: NotedMode, monkeypatch: pytest.MonkeyPatch, problem: Exception, status: int
) -> None:
    settle, failed = mode.settle_lock, []

    async def failing(fid: str, lid: str, claim: str, answer: Any) -> None:
        if answer is not None and not failed:
            failed.append(claim)
            raise problem
        await settle(fid, lid, claim, answer)

    monkeypatch.setattr(mode, "settle_lock", failing)
    async with waiting(app_with()) as run:
        assert (await run.post()).status_code == status
        assert (await run.post()).status_code == 200


# declaring --------------------------------------------------------------------------------------------------------


def test_a_handler_that_could_never_be_called_is_told_when_it_is_declared() -> None:
    app = ServeAPI()
    with pytest.raises(TypeError, match=r"needs inputs.*data and request"):
        app.lock("x")(lambda inputs: FORM)
    with pytest.raises(TypeError, match=r"needs other.*data and inputs and request"):
        app.lease("x")(lambda data, other: None)
    assert app.locks == app.leases == {}


async def test_locks_survive_the_way_into_a_replica(waiting: Waiter) -> None:
    app = app_with()

    @app.lease("approve")
    def lease(inputs: dict[str, Any]) -> str:
        return f"{inputs['name']} {sorted(app.locks)}"

    copy = cloudpickle.loads(cloudpickle.dumps(app))
    async with waiting(copy) as run:
        assert (await run.post()).json()["result"] == "x ['approve']"
