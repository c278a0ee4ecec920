"""``/_lock_/{fid}/{lid}``: the form of a lock that waits in a run, and what happens when it comes back.

The run itself is the authority over its locks: this side claims one, works out an answer with the author's handlers,
and hands it over. Who may answer is decided by the panel, which knows roles; its word is the grant for that very run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import cloudpickle
from fastapi import Request
from fastapi.responses import JSONResponse

from ..const import KODOSUMI_URL
from ..error import ExecutionNotFound, FileError, LaunchUnavailable, LockNotFound, LockReleased, PayloadTooLarge
from ..events import parsed_json
from ..execution import ExecutionMode
from ..forms import InputsError, Model
from ..identity import ANONYMOUS, RunGrant
from ..launch import files_of
from ..launcher import launcher
from ..runner.lock_types import LockAnswer, LockClaim, OpenLock
from ..runner.payload import plain
from .answers import elements_of, refused, unavailable, with_errors
from .body import BodyError, read_fields
from .calling import call
from .uploads import grant_of, has_files, named_twice, needs_panel, uploads_of

logger = logging.getLogger(__name__)

PATH = "/_lock_/{fid}/{lid}"
LOCK_OFFERED = ("data", "request")
LEASE_OFFERED = ("data", "inputs", "request")

Handlers = Mapping[str, Callable[..., Any]]
Result = TypeVar("Result")


class Refusal(Exception):
    """A request that isn't served; carries the answer.

    Args:
        status: of HTTP. detail: its text.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.response = refused(status, detail)


class LockRoutes:
    """The two routes of an app's locks.

    Args:
        locks: handlers by name; each gives a lock's form. leases: each takes the answer to one.
    """

    def __init__(self, locks: Handlers, leases: Handlers) -> None:
        self._locks = locks
        self._leases = leases
        self._working: set[asyncio.Task[Any]] = set()

    async def show(self, request: Request, fid: str, lid: str) -> JSONResponse:
        """The list of the form's elements."""

        async def shown() -> JSONResponse:
            lock = await _asked(lambda mode: mode.lock(fid, lid))
            if lock.username != ANONYMOUS:
                _check_vouched(request, fid)
            return JSONResponse(elements_of(await self._form(lock, request)))

        return await _told(shown(), f"form of lock {lid} of {fid}", released=404)

    async def take(self, request: Request, fid: str, lid: str) -> JSONResponse:
        """The result of an answer, messages at the fields, or why there is neither.

        An answer that is being worked on is finished, whoever hangs up: a claim left behind would hold up the others.
        """

        async def taken() -> JSONResponse:
            try:
                return await self._taken(request, fid, lid)
            finally:
                await request.close()

        told = _told(taken(), f"answer to lock {lid} of {fid}", released=409)
        return await asyncio.shield(self._kept(told))

    def _kept(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """A task that ends in its own time, whoever has asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    def __getstate__(self) -> dict[str, Any]:
        # What travels to a replica: not the work of this process.
        return {**self.__dict__, "_working": set()}

    async def _taken(self, request: Request, fid: str, lid: str) -> JSONResponse:
        values = None
        if not _vouched(request, fid):
            # Before it is claimed: whoever may not answer, or is slow to say what, must not hold up who may.
            values = await read_fields(request)
            lock = await _asked(lambda mode: mode.lock(fid, lid))
            if lock.username != ANONYMOUS:
                _check_vouched(request, fid)
        # A panel sends answers as a whole, so the body comes while the claim is on its way.
        claiming = asyncio.create_task(_asked(lambda mode: mode.claim_lock(fid, lid)))
        settled = False
        try:
            values = await read_fields(request) if values is None else values
            claim = await claiming
            response, answer = await self._worked_out(request, claim.lock, values)
            if answer is not None:
                await _asked(lambda mode: mode.settle_lock(fid, lid, claim.id, answer))
                settled = True
        finally:
            if not settled:
                reopening = self._kept(_reopened(claiming))
                # A claim that waits for its turn is given back when it's there; nobody waits for that.
                await asyncio.wait({reopening}, timeout=None if claiming.done() else 0)
        return response

    async def _worked_out(
        self, request: Request, lock: OpenLock, values: dict[str, Any]
    ) -> tuple[JSONResponse, LockAnswer | None]:
        """What to say to who answered, and the answer, or None when the lock stays open."""
        model = await self._form(lock, request)
        if has_files(model, values) and not _vouched(request, lock.fid):
            raise Refusal(400, needs_panel(request))
        found = model.check(values) or named_twice(model, values)
        if found:
            return with_errors(model, found), None
        inputs = {**values, **model.parse(values)}
        try:
            result = await self._leased(lock, inputs, request)
        except InputsError as exc:
            return with_errors(model, exc.messages()), None
        answer = self._answer(lock, result, request)
        await _put_files(request, lock.fid, model, values)
        return JSONResponse({"result": parsed_json(answer.payload), "elements": elements_of(model)}), answer

    async def _form(self, lock: OpenLock, request: Request) -> Model:
        handler = self._locks.get(lock.name)
        if handler is None:
            raise Refusal(500, f"The run waits in lock {lock.name!r}, but this app has no @app.lock({lock.name!r}).")
        model = await _called(handler, data=lock.data, request=request)
        if not isinstance(model, Model):
            raise Refusal(
                500,
                f"{_named(handler)}, the handler of lock {lock.name!r}, must return a forms.Model, not {model!r:.100}.",
            )
        return model

    async def _leased(self, lock: OpenLock, inputs: dict[str, Any], request: Request) -> Any:
        handler = self._leases.get(lock.name)
        if handler is None:
            return inputs
        return await _called(handler, data=lock.data, inputs=inputs, request=request)

    def _answer(self, lock: OpenLock, result: Any, request: Request) -> LockAnswer:
        try:
            pickled: bytes = cloudpickle.dumps(result)
        except Exception as exc:
            handler = _named(self._leases[lock.name]) if lock.name in self._leases else "the form"
            raise Refusal(
                500,
                f"What {handler} gives for lock {lock.name!r} cannot be sent to the run ({exc}); give plain values.",
            ) from exc
        return LockAnswer(pickled, plain(result), request.state.user, time.time())


async def _called(handler: Callable[..., Any], **offered: Any) -> Any:
    """What an author's handler returns; what it raises, but for an InputsError, is its own and never one of ours."""
    try:
        return await call(handler, **offered)
    except InputsError:
        raise
    except Exception as exc:
        logger.exception("lock handler %s failed", _named(handler))
        raise Refusal(500, repr(exc)) from exc


async def _told(work: Awaitable[JSONResponse], what: str, released: int) -> JSONResponse:
    """What some work answers, or the answer for what it raises.

    Args:
        work: to be done. what: it is about, for the log. released: HTTP status for a lock that has its answer.
    """
    try:
        return await work
    except Refusal as exc:
        return exc.response
    except BodyError as exc:
        return refused(400, str(exc))
    except LockReleased as exc:
        return refused(released, str(exc))
    except (ExecutionNotFound, LockNotFound) as exc:
        return refused(404, str(exc))
    except LaunchUnavailable as exc:
        return unavailable(str(exc))
    except FileError as exc:
        return refused(400, f"The answer was not taken: {exc}")
    except PayloadTooLarge as exc:
        return refused(413, str(exc))
    except Exception as exc:
        logger.exception("%s failed", what)
        return refused(500, repr(exc))


async def _asked(question: Callable[[ExecutionMode], Awaitable[Any]]) -> Any:
    """What the execution mode says, on its own thread."""

    async def asked() -> Any:
        return await question(launcher().mode)

    return await launcher().ask(asked())


async def _reopened(claiming: asyncio.Task[LockClaim]) -> None:
    try:
        claim = await claiming
        await _asked(lambda mode: mode.settle_lock(claim.lock.fid, claim.lock.lid, claim.id, None))
    except Exception as exc:
        # There was none, or it has ended already, or ends by itself after a minute.
        logger.debug("no claim is given back: %s", exc)


async def _put_files(request: Request, fid: str, model: Model, values: dict[str, Any]) -> None:
    uploads, grant = uploads_of(model, values), _grant_for(request, fid)
    if uploads is not None and grant is not None:
        await uploads.complete(fid, files_of(grant, request.headers.get(KODOSUMI_URL, "")))


def _grant_for(request: Request, fid: str) -> RunGrant | None:
    grant = grant_of(request)
    return grant if grant is not None and grant.fid == fid and not grant.launches else None


def _vouched(request: Request, fid: str) -> bool:
    """Whether the panel says that this user may answer locks of this run."""
    return _grant_for(request, fid) is not None


def _check_vouched(request: Request, fid: str) -> None:
    if not _vouched(request, fid):
        lid = request.path_params["lid"]
        raise Refusal(403, f"Who may answer this lock is for its panel to say: answer it there, at /lock/{fid}/{lid}.")


def _named(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
