"""Launch: from an endpoint's return statement to the execution mode.

The start begins at once on a thread of its own, so neither an endpoint that blocks its loop nor one that returns
something else delays or loses it. The answer goes out after the run is accepted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from . import __version__
from .config import process_settings
from .const import KODOSUMI_LAUNCH, KODOSUMI_URL, hyphened
from .endpoint import EndpointMeta, meta_from_stack, meta_of
from .error import BadEntryPoint, BadInputs, FileError, LaunchError, LaunchUnavailable
from .events import new_fid, storable
from .identity import ANONYMOUS, RunGrant
from .launcher import environment_of, launcher
from .runner.entry import pickle_for_run
from .runner.payload import wrap
from .runner.spec import Retry, RunFiles, RunSpec, UploadedFile

logger = logging.getLogger(__name__)

UPLOADS = "kodosumi_uploads"
"""Where a request's state holds the :class:`PendingUploads` that came with its form."""

_LAUNCHED = "kodosumi_launched"
"""Where a request's state holds the id of its first launch."""


class PendingUploads(Protocol):
    """Files that a form named: uploaded to the panel, but not yet a run's."""

    async def complete(self, fid: str, files: RunFiles) -> None:
        """Puts them into the run's ``in/``. Idempotent.

        Raises:
            FileError: it could not be done, with the reason.
        """
        ...

    async def placed(self, fid: str, files: RunFiles) -> tuple[UploadedFile, ...]:
        """What lies in the run's ``in/``.

        Raises:
            FileError: nobody can tell, with the reason.
        """
        ...


class LaunchResponse(JSONResponse):
    """The answer ``{"fid": …}`` of a launch that is under way; it isn't sent before the run is accepted.

    Attributes:
        fid: the execution's id.
    """

    def __init__(self, fid: str, acceptance: Future[None]) -> None:
        super().__init__({"fid": fid}, headers=launch_headers(fid))
        self.fid = fid
        self._acceptance = acceptance

    async def accepted(self) -> None:
        """Returns when the run's first events are safely in the transport.

        Raises:
            LaunchError: it can't be accepted; nothing was started.
        """
        await asyncio.wrap_future(self._acceptance)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer, or says why there's no run: 503 when trying later helps, else 400."""
        try:
            await self.accepted()
        except LaunchError as exc:
            later = isinstance(exc, LaunchUnavailable)
            refusal = JSONResponse(
                {"detail": str(exc)}, status_code=503 if later else 400, headers={"retry-after": "5"} if later else None
            )
            await refusal(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def launch_headers(fid: str) -> dict[str, str]:
    """The response headers that name a launched execution."""
    return {KODOSUMI_LAUNCH: fid, hyphened(KODOSUMI_LAUNCH): fid}


def Launch(  # noqa: N802 - published name
    request: Request,
    entry_point: str | Callable[..., Any] | object,
    inputs: Any = None,
    reference: Callable[..., Any] | None = None,
    summary: str | None = None,
    description: str | None = None,
) -> LaunchResponse:
    """Starts a run without waiting for its end.

    The first launch of a request gets the files that came with its form; they are in place before it starts. Any
    other is a run without files from the panel.

    Args:
        request: the endpoint's request; says who the user is and where app and panel are.
        entry_point: ``"pkg.mod:name"``, ``"pkg.mod.name"``, a callable or a crew; resolved on the cluster.
        inputs: what the entry point gets as ``inputs``.
        reference: the registered endpoint whose metadata and ``retry`` the run carries; found from the call stack by
            default.
        summary: overrides the endpoint's, for this run alone. description: likewise.

    Returns:
        The response to return from the endpoint, with the execution's id.

    Raises:
        BadEntryPoint: (a ValueError) a bare name, or an object that can't be sent to the cluster.
        BadInputs: inputs that can't be sent to the cluster.
    """
    meta = meta_of(reference) if reference is not None else meta_from_stack(sys._getframe(1))
    meta = meta or EndpointMeta()
    facts = meta.published
    if summary is not None:
        facts["summary"] = summary
    if description is not None:
        facts["description"] = description
    spec, uploads = _prepared(request, entry_point, inputs, facts, meta.retry)
    return LaunchResponse(spec.fid, launcher().submit(_start(spec, uploads)))


def _prepared(
    request: Request, entry_point: object, inputs: Any, facts: dict[str, Any], retry: Retry | None
) -> tuple[RunSpec, PendingUploads | None]:
    # What may fail comes first: a launch that was never made must not use up the request's files.
    code, pickled = _portable(entry_point), _pickled_inputs(inputs)
    fid, files, uploads = _run_of(request)
    username = getattr(request.state, "user", ANONYMOUS)
    app_url = getattr(request.state, "prefix", "")
    panel_url = request.headers.get(KODOSUMI_URL, "")
    published = {
        "fid": fid,
        "username": username,
        "app_url": app_url,
        "panel_url": panel_url,
        "entry_point": _name_of(entry_point),
        "kodosumi": __version__,
        **facts,
    }
    spec = RunSpec(
        fid=fid,
        username=username,
        environment=environment_of(request.app),
        entry_point=code,
        inputs=pickled,
        inputs_payload=wrap(inputs),
        meta_payload=storable(json.dumps({"dict": published}, default=str, ensure_ascii=False)),
        panel_url=panel_url,
        app_url=app_url,
        locks=_locks_of(request.app),
        files=files,
        retry=retry,
    )
    return spec, uploads


def _run_of(request: Request) -> tuple[str, RunFiles, PendingUploads | None]:
    """The id of the run that a request launches now, how it reaches its files, and the uploads it begins with."""
    grant: RunGrant | None = getattr(request.state, "grant", None)
    panel_url = request.headers.get(KODOSUMI_URL, "")
    state = request.scope.setdefault("state", {})
    if grant is not None and grant.launches and state.setdefault(_LAUNCHED, me := new_fid()) == me:
        return grant.fid, files_of(grant, panel_url), state.get(UPLOADS)
    if getattr(request.state, "user", ANONYMOUS) != ANONYMOUS:
        return new_fid(), RunFiles(panel_url), None
    # Nobody vouches for a user, so there is no panel: files are where this process keeps its own.
    return new_fid(), RunFiles(root=str(process_settings().exec_dir.absolute())), None


def files_of(grant: RunGrant, panel_url: str) -> RunFiles:
    """How a run reaches its files with what the panel granted.

    Args:
        grant: of the run. panel_url: address of the panel, as the same request names it; the grant may name another.
    """
    return RunFiles(grant.panel_url or panel_url, grant.token, grant.root, grant.mark)


def _locks_of(app: Any) -> tuple[str, ...] | None:
    """The names an app has an ``@app.lock`` for; None for one that isn't a ServeAPI."""
    locks = getattr(app, "locks", None)
    return tuple(locks) if isinstance(locks, dict) else None


def _name_of(entry_point: object) -> str:
    if isinstance(entry_point, str):
        return entry_point
    owner = entry_point if hasattr(entry_point, "__qualname__") else type(entry_point)
    return f"{getattr(owner, '__module__', '?')}.{getattr(owner, '__name__', '?')}"


def _portable(entry_point: object) -> str | bytes:
    if isinstance(entry_point, str):
        if not entry_point.strip(":.") or not any(mark in entry_point for mark in ":."):
            raise BadEntryPoint(f"entry point {entry_point!r}: name a module too, as in 'my_service.calc:execute'")
        return entry_point
    try:
        return pickle_for_run(entry_point)
    except Exception as exc:
        name = _name_of(entry_point)
        raise BadEntryPoint(
            f"entry point {name} cannot be sent to the cluster ({exc}); name it as 'module:name'"
        ) from exc


def _pickled_inputs(inputs: Any) -> bytes:
    try:
        return pickle_for_run(inputs)
    except Exception as exc:
        raise BadInputs(f"the inputs cannot be sent to the cluster ({exc}); pass plain values") from exc


async def _start(spec: RunSpec, uploads: PendingUploads | None) -> None:
    try:
        await launcher().attached(start=True)
        if uploads is not None:
            await uploads.complete(spec.fid, spec.files)
            spec = replace(spec, uploads=await uploads.placed(spec.fid, spec.files))
        await launcher().mode.launch(spec)
    except LaunchError:
        raise
    except FileError as exc:
        raise LaunchError(f"The run was not started: {exc}") from exc
    except Exception as exc:
        logger.exception("launch of %s failed", spec.fid)
        raise LaunchUnavailable(f"The run was not started: {exc}") from exc
