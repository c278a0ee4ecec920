"""How a launch finds what its endpoint says about itself."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import cloudpickle
import pytest
from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import State

from kodosumi import forms as F
from kodosumi.core import Retry
from kodosumi.endpoint import EndpointMeta, meta_from_stack, meta_of, remember
from kodosumi.serve import ServeAPI
from tests.stack import ROOT

from .conftest import Client

FORM = F.Model(F.InputText("wait"))


def found() -> JSONResponse:
    """A launch's answer that says which metadata it found, from a helper of its own."""
    meta = meta_from_stack(sys._getframe(1))
    return JSONResponse({}, headers={"kodosumi_launch": (meta.summary if meta else None) or "nothing"})


async def asked(client_of: Client, app: ServeAPI, path: str) -> str:
    async with client_of(app) as client:
        answer: str = (await client.post(path, json={})).json()["result"]
    return answer


def factory_app() -> ServeAPI:
    app = ServeAPI()

    def made(name: str) -> Callable[..., Any]:
        @app.enter(f"/{name}", FORM, summary=name, tags=["x"], author="A", version="1")
        async def enter(request: Request, inputs: dict[str, Any]) -> JSONResponse:
            await asyncio.sleep(0)
            return found()

        @app.enter(f"/sync/{name}", FORM, summary=f"sync {name}")
        def enter_sync() -> JSONResponse:
            return found()

        return enter

    app.state.made = [made("one"), made("two")]
    return app


async def test_endpoints_of_one_factory_keep_their_own_metadata(client_of: Client) -> None:
    app = factory_app()
    paths = ["/one", "/two", "/sync/one", "/sync/two"] * 3
    answers = await asyncio.gather(*(asked(client_of, app, path) for path in paths))
    assert answers == ["one", "two", "sync one", "sync two"] * 3


async def test_metadata_survives_the_way_into_a_replica(client_of: Client) -> None:
    app = factory_app()
    await asked(client_of, app, "/one")  # an app that has served already travels too
    copy = cloudpickle.loads(cloudpickle.dumps(app))
    assert await asked(client_of, copy, "/two") == "two"
    assert copy.origin == app.origin == __name__
    assert isinstance(copy.state, State)
    meta = meta_of(copy.state.made[0])
    assert meta == EndpointMeta(summary="one", tags=("x",), author="A", version="1")


def test_a_reference_finds_its_metadata_through_decorators() -> None:
    app = ServeAPI()

    @app.enter("/", FORM, summary="S", deprecated=True, organization="O")
    def enter() -> None: ...

    @functools.wraps(enter)
    def decorated() -> None: ...

    expected = EndpointMeta(summary="S", deprecated=True, organization="O")
    assert meta_of(enter) == meta_of(decorated) == expected
    assert meta_of(cloudpickle.loads(cloudpickle.dumps(enter))) == expected
    assert meta_of(len) is None and meta_of(found) is None


def copied(value: Any) -> Any:
    """A copy as another process gets it."""
    return cloudpickle.loads(cloudpickle.dumps(value))


def test_copies_of_one_factorys_endpoints_keep_their_own_metadata() -> None:
    one, two = factory_app().state.made

    for _ in range(2):  # a copy of a copy too
        one, two = copied(one), copied(two)
        assert [meta_of(each) for each in (one, two)] == [
            EndpointMeta(summary=name, tags=("x",), author="A", version="1") for name in ("one", "two")
        ]


LOAD = """
import cloudpickle, sys
from kodosumi.endpoint import meta_of

app, function = cloudpickle.load(sys.stdin.buffer), cloudpickle.load(sys.stdin.buffer)
copies = [registered for registered, _ in app._endpoints] + [function]
sys.stdout.buffer.write(cloudpickle.dumps([meta_of(copy) for copy in copies]))
"""


def test_copies_in_a_process_that_knows_no_endpoint_keep_their_metadata() -> None:
    app = ServeAPI()

    @app.enter("/", FORM, summary="S", retry=Retry(max_attempts=2))
    def enter() -> None: ...

    pickled = cloudpickle.dumps(app) + cloudpickle.dumps(enter)
    done = subprocess.run([sys.executable, "-c", LOAD], input=pickled, stdout=subprocess.PIPE, cwd=ROOT, check=True)

    expected = meta_of(enter)
    assert expected is not None and expected.retry is not None
    assert cloudpickle.loads(done.stdout) == [expected, expected]


class Desk:
    """Endpoints as bound methods, which can't have attributes of their own."""

    def enter(self) -> str:
        return found().headers["kodosumi_launch"]


def test_a_bound_method_and_its_copies_have_metadata() -> None:
    app = ServeAPI()
    local = type("Local", (Desk,), {"enter": lambda self: found().headers["kodosumi_launch"]})
    for desk in (Desk(), local()):
        app.enter("/", FORM, summary="desk")(desk.enter)

        assert meta_of(desk.enter) == meta_of(copied(desk.enter)) == meta_of(copied(copied(app)._endpoints[-1][0]))
        assert desk.enter() == copied(desk.enter)() == "desk"


def test_methods_of_several_objects_keep_their_own_metadata() -> None:
    app, desks = ServeAPI(), [Desk(), Desk()]
    for number, desk in enumerate(desks):
        app.enter(f"/{number}", FORM, summary=f"desk {number}")(desk.enter)

    assert [meta_of(desk.enter) for desk in desks] == [EndpointMeta(summary="desk 0"), EndpointMeta(summary="desk 1")]
    assert [desk.enter() for desk in desks] == ["desk 0", "desk 1"]
    # A copy could be either's: no metadata is better than another endpoint's retry.
    assert meta_of(copied(desks[0].enter)) is None
    assert copied(desks[0].enter)() == "nothing"


class Stubborn:
    """A callable that takes no attributes and can't be compared or hashed."""

    __slots__ = ("__code__",)
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    def __call__(self) -> None: ...

    def __init__(self) -> None:
        self.__code__ = found.__code__


def test_callables_that_are_no_functions_have_metadata() -> None:
    app = ServeAPI()
    partial = functools.partial(found)
    for number, function in enumerate(made := [Stubborn(), Stubborn(), partial, sorted]):
        remember(function, EndpointMeta(summary=str(number)))
    remember(made[0], EndpointMeta(summary="again"))
    app.enter("/", FORM, summary="S")(made[0])

    assert [meta.summary for each in made if (meta := meta_of(each))] == ["S", "1", "2", "3"]
    assert meta_of(Stubborn()) is None


def test_a_copy_called_directly_is_found_on_the_stack() -> None:
    app = ServeAPI()

    def make(name: str) -> Callable[[], str]:
        @app.enter(f"/{name}", FORM, summary=name)
        def enter() -> str:
            assert name
            return found().headers["kodosumi_launch"]

        return enter

    # Long names are not interned: the copies' free variables are equal, and not the same objects.
    names = ["the first of two names", "the second of two names"]
    assert [copied(make(name))() for name in names] == names


def test_two_functions_of_one_line_keep_their_own_metadata() -> None:
    app = ServeAPI()
    both = [lambda: 1, lambda: 2]
    for number, function in enumerate(both):
        app.enter(f"/{number}", FORM, summary=str(number))(function)

    assert [meta_of(each) for each in both] == [meta_of(copied(each)) for each in both]
    assert [meta.summary for each in both if (meta := meta_of(each))] == ["0", "1"]


def test_two_functions_of_one_line_are_told_apart_on_the_stack() -> None:
    both = [lambda: found(), lambda: [found()][0]]
    for number, function in enumerate(both):
        remember(function, EndpointMeta(summary=str(number)))

    assert [each().headers["kodosumi_launch"] for each in both] == ["0", "1"]


def test_a_function_that_was_not_registered_has_no_metadata_of_another_one_of_its_line() -> None:
    registered, other = (lambda: 1), (lambda: 2)
    ServeAPI().enter("/", FORM, summary="S")(registered)

    assert meta_of(other) is meta_of(copied(other)) is None


def test_a_decorated_endpoint_has_the_newest_metadata_and_a_bound_one_its_own() -> None:
    def enter(self: object = None) -> None: ...

    remember(enter, EndpointMeta(summary="first"))

    @functools.wraps(enter)
    def decorated() -> None: ...

    bound = MethodType(enter, Desk())
    remember(enter, EndpointMeta(summary="second"))
    remember(bound, EndpointMeta(summary="bound"))

    assert [meta.summary for each in (enter, decorated, bound) if (meta := meta_of(each))] == [
        "second",
        "second",
        "bound",
    ]


def test_a_handler_called_directly_is_found_on_the_stack() -> None:
    app = ServeAPI()
    made = []
    for name in ("one", "two"):

        def make(name: str) -> None:
            @app.enter(f"/{name}", FORM, summary=name)
            def enter() -> str:
                assert name
                return found().headers["kodosumi_launch"]

            made.append(enter)

        make(name)
    assert [enter() for enter in made] == ["one", "two"]
    assert found().headers["kodosumi_launch"] == "nothing"


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch", "options", "head"])
async def test_plain_routes_publish_and_remember_our_keywords(client_of: Client, method: str) -> None:
    app = ServeAPI()
    seen: list[EndpointMeta | None] = []

    @getattr(app, method)("/x/{n}", entry=True, author="A", version="2", summary="S", openapi_extra={"x-own": 1})
    def route(n: int) -> None:
        seen.append(meta_from_stack(None))

    async with client_of(app) as client:
        assert (await client.request(method, "/x/5")).status_code == 200
        operation = (await client.get("/openapi.json")).json()["paths"]["/x/{n}"][method]
    assert {"x-kodosumi": True, "x-author": "A", "x-version": "2", "x-own": 1}.items() <= operation.items()
    assert meta_of(route) == EndpointMeta(summary="S", author="A", version="2")
    assert seen == [EndpointMeta(summary="S", author="A", version="2", description="")]


async def test_a_route_that_is_no_entry_says_nothing_about_it(client_of: Client) -> None:
    app = ServeAPI()
    app.get("/x", entry=False)(lambda: None)
    async with client_of(app) as client:
        assert "x-kodosumi" not in (await client.get("/openapi.json")).json()["paths"]["/x"]["get"]
