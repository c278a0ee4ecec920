"""Launch: from an endpoint's return statement to the execution mode.

The start begins at once on a thread of its own, so neither an endpoint that blocks its loop nor one that returns
something else delays or loses it. The answer goes out after the run is accepted.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cloudpickle
from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from . import __version__, cluster
from .config import process_settings
from .const import KODOSUMI_LAUNCH, KODOSUMI_URL, hyphened
from .endpoint import EndpointMeta, meta_from_stack, meta_of
from .error import BadEntryPoint, BadInputs, LaunchError, LaunchUnavailable
from .events import new_fid, storable
from .execution import ExecutionMode, connect_mode
from .identity import ANONYMOUS
from .runner.payload import wrap
from .runner.spec import AppEnvironment, RunSpec

logger = logging.getLogger(__name__)

WARM_FOR_S = 180.0
WARM_EVERY_S = 60.0


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

    Args:
        request: the endpoint's request; says who the user is and where app and panel are.
        entry_point: ``"pkg.mod:name"``, ``"pkg.mod.name"``, a callable or a crew; resolved on the cluster.
        inputs: what the entry point gets as ``inputs``.
        reference: the registered endpoint whose metadata the run carries; found from the call stack by default.
        summary: overrides the endpoint's, for this run alone. description: likewise.

    Returns:
        The response to return from the endpoint, with the execution's id.

    Raises:
        BadEntryPoint: (a ValueError) a bare name, or an object that can't be sent to the cluster.
        BadInputs: inputs that can't be sent to the cluster.
    """
    meta = meta_of(reference) if reference is not None else meta_from_stack(sys._getframe(1))
    spec = _spec(request, entry_point, inputs, meta or EndpointMeta(), summary, description)
    return LaunchResponse(spec.fid, _launcher().submit(_start(spec)))


def _spec(
    request: Request, entry_point: object, inputs: Any, meta: EndpointMeta, summary: str | None, description: str | None
) -> RunSpec:
    fid = new_fid()
    username = getattr(request.state, "user", ANONYMOUS)
    app_url = getattr(request.state, "prefix", "")
    panel_url = request.headers.get(KODOSUMI_URL, "")
    facts = asdict(meta)
    if summary is not None:
        facts["summary"] = summary
    if description is not None:
        facts["description"] = description
    published = {
        "fid": fid,
        "username": username,
        "app_url": app_url,
        "panel_url": panel_url,
        "entry_point": _name_of(entry_point),
        "kodosumi": __version__,
        **facts,
    }
    return RunSpec(
        fid=fid,
        username=username,
        environment=AppEnvironment(_app_name(request), *_code_location()),
        entry_point=_portable(entry_point),
        inputs=_pickled_inputs(inputs),
        inputs_payload=wrap(inputs),
        meta_payload=storable(json.dumps({"dict": published}, default=str, ensure_ascii=False)),
        panel_url=panel_url,
        app_url=app_url,
    )


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
        pickled: bytes = cloudpickle.dumps(entry_point)
    except Exception as exc:
        name = _name_of(entry_point)
        raise BadEntryPoint(
            f"entry point {name} cannot be sent to the cluster ({exc}); name it as 'module:name'"
        ) from exc
    return pickled


def _pickled_inputs(inputs: Any) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps(inputs)
    except Exception as exc:
        raise BadInputs(f"the inputs cannot be sent to the cluster ({exc}); pass plain values") from exc
    return pickled


def _app_name(request: Request) -> str:
    return str(getattr(request.app, "origin", None) or getattr(request.app, "title", "app"))


# where the app's code is ------------------------------------------------------------------------------------------


@functools.cache
def _plain_python() -> frozenset[str]:
    """Entries of ``sys.path`` that every Python of this installation has."""
    own = {*site.getsitepackages(), *sysconfig.get_paths().values(), site.getusersitepackages()}
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    return frozenset(
        {
            *own,
            str(stdlib / "lib-dynload"),
            str(stdlib.parent / f"python{sys.version_info[0]}{sys.version_info[1]}.zip"),
        }
    )


def _code_location() -> tuple[dict[str, Any], tuple[str, ...], str]:
    """Ray's runtime environment, the extra import paths and the working folder of this process."""
    here = str(Path.cwd())
    extra = tuple(
        dict.fromkeys(entry or here for entry in sys.path if entry not in _plain_python() and "/ray/" not in entry)
    )
    return _runtime_env(), extra, here


def _runtime_env() -> dict[str, Any]:
    import ray

    return dict(ray.get_runtime_context().runtime_env) if ray.is_initialized() else {}


# the thread that starts runs --------------------------------------------------------------------------------------


class Launcher:
    """A thread with an event loop and the execution mode, one per process that launches."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kodosumi-launcher", daemon=True)
        self._thread.start()
        self.mode: ExecutionMode = connect_mode(process_settings())

    def submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Runs a coroutine on the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@functools.cache
def _launcher_of(pid: int) -> Launcher:
    return Launcher()


def _launcher() -> Launcher:
    # By process id: a forked server must not use its parent's thread.
    return _launcher_of(os.getpid())


async def _start(spec: RunSpec) -> None:
    try:
        await cluster.attached(process_settings(), start=True)
        await _launcher().mode.launch(spec)
    except LaunchError:
        raise
    except Exception as exc:
        logger.exception("launch of %s failed", spec.fid)
        raise LaunchUnavailable(f"The run was not started: {exc}") from exc


def keep_warm(app: Any) -> None:
    """Has the cluster keep a runner ready for an app, for as long as this process lives. Returns at once.

    Where no cluster runs, nothing is started for it: the first launch does that.

    Args:
        app: the ServeAPI that this process serves.
    """
    _launcher().submit(_keep_warm(app))


async def _keep_warm(app: Any) -> None:
    name = str(getattr(app, "origin", None) or app.title)
    while True:
        try:
            await cluster.attached(process_settings())
            await _launcher().mode.warm(AppEnvironment(name, *_code_location()), WARM_FOR_S)
        except Exception as exc:
            logger.debug("no runner is kept warm for %s: %s", name, exc)
        await asyncio.sleep(WARM_EVERY_S)
