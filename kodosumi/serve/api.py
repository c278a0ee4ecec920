"""ServeAPI: a FastAPI app whose endpoints show a form and start runs.

It is pickled into Ray Serve's replicas, so everything it holds can be pickled. It knows neither store nor transport.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from ..endpoint import EndpointMeta, remember, serving
from ..forms import Model
from ..launcher import keep_warm
from ..log import REQUEST_ID_HEADER, about, usable_request_id
from ..runner.retrying import portable
from ..runner.spec import Retry
from .caller import ClusterKeys, IdentifyCaller, KeySource
from .calling import check_parameters
from .entry import Entry
from .failures import LogFailures, name_exception
from .keywords import described, folded, plain
from .lock import LEASE_OFFERED, LOCK_OFFERED, PATH, LockRoutes

logger = logging.getLogger(__name__)

Handler = TypeVar("Handler", bound=Callable[..., Any])


class EndpointRoute(APIRoute):
    """A route whose metadata is known to launches made while it is served."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's."""
        handler = super().get_route_handler()
        meta = described(
            {
                **(self.openapi_extra or {}),
                "summary": self.summary,
                "description": self.description,
                "tags": self.tags,
                "deprecated": self.deprecated,
            }
        )

        async def handle(request: Request) -> Response:
            given = request.headers.get(REQUEST_ID_HEADER)
            with serving(meta), about(request_id=usable_request_id(given) if given else ""):
                return await handler(request)

        return handle


class ServeAPI(FastAPI):
    """A flow app. Constructor arguments are FastAPI's.

    Attributes:
        origin: module that made it; runs of one origin share warm processes.
        locks: handlers by name, as ``lock`` registered them. leases: likewise.
        caller_keys: whose word counts about who calls; the panels of the Ray cluster by default.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.router.route_class = EndpointRoute
        if 500 not in self.exception_handlers:
            self.exception_handlers.setdefault(Exception, name_exception)
        self.origin = _origin(self)
        self.locks: dict[str, Callable[..., Any]] = {}
        self.leases: dict[str, Callable[..., Any]] = {}
        self.caller_keys: KeySource = ClusterKeys()
        self._endpoints: list[tuple[Callable[..., Any], EndpointMeta]] = []
        routes = LockRoutes(self.locks, self.leases)
        for method, function in (("GET", routes.show), ("POST", routes.take)):
            # No EndpointRoute: what a lease launches is no run of this route.
            self.router.add_api_route(
                PATH,
                function,
                methods=[method],
                include_in_schema=False,
                response_model=None,
                route_class_override=APIRoute,
            )

    def enter(
        self, path: str, model: Model, *args: Any, retry: Retry | None = None, **keywords: Any
    ) -> Callable[[Handler], Handler]:
        """Registers an endpoint: GET shows the form, POST takes it. The decorated function stays as it is.

        Args:
            path: of both. model: the form. args: ignored.
            retry: when the code of a run is called again after it raised; never by default.
            keywords: ``summary``, ``description``, ``tags``, ``deprecated``, ``version``, ``author``,
                ``organization``, ``openapi_extra`` and any other keyword of a FastAPI route.

        The function is a coroutine function, or plain (it then runs in a thread). It gets what it names of ``inputs``
        (one value for each named element) and ``request``, and returns a ``Launch`` or raises ``InputsError``.

        Raises:
            TypeError: (when decorating) the function has other parameters without a default.
            TypeError, ValueError: a ``retry`` that can't be followed; says what of it.
        """
        flow, form = folded(keywords, entry=True), folded(keywords, entry=False)
        published = plain({**keywords, "openapi_extra": flow["openapi_extra"]})
        meta = replace(described(keywords), retry=None if retry is None else portable(retry))

        def register(function: Handler) -> Handler:
            entry = Entry(function, model, meta, published)
            self._remember(function, meta)
            name = getattr(function, "__name__", type(function).__name__)
            FastAPI.get(self, path, **{"name": name, **flow, "response_model": None})(_showing(entry))
            FastAPI.post(self, path, **{"name": name, **form, "response_model": None})(_taking(entry))
            return function

        return register

    def lock(self, name: str, **keywords: Any) -> Callable[[Handler], Handler]:
        """Registers the handler that gives the form of a lock.

        The function is a coroutine function, or plain (it then runs in a thread). It gets what it names of ``data``
        (as given to ``tracer.lock``, in plain JSON values) and ``request``, and returns a ``Model``.

        Args:
            name: as in ``tracer.lock``. keywords: ignored.

        Raises:
            TypeError: (when decorating) the function has other parameters without a default.
        """
        return _stored(self.locks, name, LOCK_OFFERED)

    def lease(self, name: str, **keywords: Any) -> Callable[[Handler], Handler]:
        """Registers the handler that takes the answer to a lock; its result is what ``tracer.lock`` returns.

        It gets what it names of ``data``, ``inputs`` (all that was sent, with one parsed value for each named element)
        and ``request``; an ``InputsError`` brings the form back and leaves the lock open. Without such a handler
        ``tracer.lock`` returns the inputs.

        Args:
            name: as in ``tracer.lock``. keywords: ignored.

        Raises:
            TypeError: as for :meth:`lock`.
        """
        return _stored(self.leases, name, LEASE_OFFERED)

    def get(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As FastAPI's, plus ``entry``, ``author``, ``organization`` and ``version``; so are its siblings below."""
        return self._published(super().get, path, args, keywords)

    def post(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As :meth:`get`."""
        return self._published(super().post, path, args, keywords)

    def put(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As :meth:`get`."""
        return self._published(super().put, path, args, keywords)

    def delete(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As :meth:`get`."""
        return self._published(super().delete, path, args, keywords)

    def patch(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As :meth:`get`."""
        return self._published(super().patch, path, args, keywords)

    def options(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As :meth:`get`."""
        return self._published(super().options, path, args, keywords)

    def head(self, path: str, *args: Any, **keywords: Any) -> Callable[[Handler], Handler]:
        """As :meth:`get`."""
        return self._published(super().head, path, args, keywords)

    def build_middleware_stack(self) -> ASGIApp:
        """As Starlette's, with ours outside of the author's, who may rely on ``request.state`` there."""
        return LogFailures(IdentifyCaller(super().build_middleware_stack(), self.caller_keys))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection; when a server starts the app, a warm runner is asked for."""
        if scope["type"] == "lifespan":
            self._warm_up()
        await super().__call__(scope, receive, send)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a replica: not what serving made here, and Starlette's ``State``, unpicklable, as a dict."""
        return {**self.__dict__, "middleware_stack": None, "state": dict(self.state._state)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickled in a replica, its endpoints are found by launches again."""
        self.__dict__.update(state, state=State(state["state"]))
        for function, meta in self._endpoints:
            remember(function, meta)

    def _published(
        self, method: Callable[..., Any], path: str, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Callable[[Handler], Handler]:
        register = method(path, *args, **folded(keywords, entry=keywords.get("entry") or None))

        def decorate(function: Handler) -> Handler:
            self._remember(function, described(keywords))
            registered: Handler = register(function)
            return registered

        return decorate

    def _remember(self, function: Callable[..., Any], meta: EndpointMeta) -> None:
        self._endpoints.append((function, meta))
        remember(function, meta)

    def _warm_up(self) -> None:
        try:
            keep_warm(self)
        except Exception:
            logger.exception("no runner is kept warm for %s", self.origin)


def _showing(entry: Entry) -> Callable[[], Coroutine[Any, Any, Response]]:
    # Without docstrings, which FastAPI would publish as the operation's description.
    async def show() -> Response:
        return entry.description()

    return show


def _taking(entry: Entry) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def take(request: Request) -> Response:
        return await entry.submission(request)

    return take


def _stored(
    handlers: dict[str, Callable[..., Any]], name: str, offered: tuple[str, ...]
) -> Callable[[Handler], Handler]:
    def store(function: Handler) -> Handler:
        check_parameters(function, offered)
        handlers[name] = function
        return function

    return store


def _origin(app: ServeAPI) -> str:
    """The module whose code makes the app: the first up the stack that isn't a constructor of it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is app:
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", "app"))
    return Path(frame.f_globals.get("__file__", name)).stem if name == "__main__" else name
