"""``/health``: whether the parts that a run needs are there. Each is asked in bounded time, once a second at most."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from .. import __version__
from ..error import KodosumiError
from .auth import CurrentUser
from .context import Panel, PanelContext

router = APIRouter(prefix="/health", tags=["Health"])

TIMEOUT_S = 3.0
FRESH_S = 1.0

Finding = dict[str, Any]
Question = Callable[[], Awaitable[Finding]]


class Health:
    """Asks the parts of one panel process how they are.

    Args:
        panel: whose parts.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._asking: dict[str, asyncio.Task[Finding]] = {}
        self._findings: dict[str, Finding] = {}
        self._asked_at = -FRESH_S
        self._turn = asyncio.Lock()

    async def findings(self) -> Mapping[str, Finding]:
        """``{"state": "ok" | "down", "detail": …}`` of each part, at most :data:`FRESH_S` seconds old."""
        async with self._turn:
            if time.monotonic() - self._asked_at >= FRESH_S:
                questions = self._questions()
                answers = await asyncio.gather(*(self._ask(name, question) for name, question in questions.items()))
                self._findings = dict(zip(questions, answers, strict=True))
                self._asked_at = time.monotonic()
        return self._findings

    async def close(self) -> None:
        """Gives up questions that are still unanswered."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _questions(self) -> dict[str, Question]:
        questions: dict[str, Question] = {
            "store": self._store,
            "transport": self._transport,
            "spooler": self._spooler,
            "runs": self._runs,
        }
        if self._panel.on_ray:
            questions["ray"] = self._ray
        if self._panel.mode.name == "temporal":
            questions["temporal"] = self._temporal
        return questions

    async def _ask(self, name: str, question: Question) -> Finding:
        # A part that hangs is asked once, not once per look: its old question goes on and counts as no answer.
        task = self._asking.get(name)
        if task is None or task.done():
            task = self._asking[name] = asyncio.create_task(_answer(question), name=f"health {name}")
        await asyncio.wait({task}, timeout=TIMEOUT_S)
        return task.result() if task.done() else {"state": "down", "detail": f"no answer within {TIMEOUT_S:g} s"}

    async def _store(self) -> Finding:
        await self._panel.store.check()
        return {"state": "ok", "detail": "writable"}

    async def _transport(self) -> Finding:
        status = await self._panel.transport.status()
        return {
            "state": "ok",
            "detail": "reachable",
            "waiting_events": status.waiting_events,
            "oldest_s": round(status.oldest_s, 3),
            "consumers": status.consumers,
            "waiting_producers": status.waiting_producers,
        }

    async def _spooler(self) -> Finding:
        status = await self._panel.transport.status()
        if not status.consumers:
            return {"state": "down", "detail": "no spooler is alive; start one with `koco spool`"}
        spoolers = [asdict(reader) for reader in status.readers]
        detail = f"{status.consumers} alive"
        return {"state": "ok", "detail": detail, "total": status.consumers, "spoolers": spoolers}

    async def _runs(self) -> Finding:
        return {"state": "ok", "detail": "reachable", **await self._panel.mode.figures()}

    async def _temporal(self) -> Finding:
        from ..execution.temporal import TemporalMode

        mode = self._panel.mode
        assert isinstance(mode, TemporalMode)
        workers = await mode.workers()
        if not workers:
            return {
                "state": "down",
                "detail": "no worker looks after runs; start one with `koco temporal-worker`",
                "workers": 0,
            }
        return {"state": "ok", "detail": f"reachable, workers: {workers}", "workers": workers}

    async def _ray(self) -> Finding:
        nodes = await ray_nodes(self._panel)
        alive = [node for node in nodes if node["alive"]]
        state = "ok" if alive else "down"
        return {"state": state, "detail": f"{len(alive)} of {len(nodes)} nodes alive", "nodes": nodes}


async def ray_nodes(panel: Panel) -> list[dict[str, Any]]:
    """The nodes of the cluster.

    Raises:
        ClusterError: it cannot be reached.
    """
    from .. import cluster

    await cluster.attached(panel.settings)
    return [asdict(node) for node in await cluster.membership.blocking(cluster.survey)]


@router.get("/live")
async def live() -> dict[str, str]:
    """Answers as long as this process serves; needs no login."""
    return {"status": "ok"}


@router.get("")
async def health(request: Request, response: Response, user: CurrentUser, panel: PanelContext) -> dict[str, Any]:
    """The state of each part; 503 with the reasons while a part that runs need is down."""
    findings = await request.app.state.health.findings()
    reasons = [f"{name}: {finding['detail']}" for name, finding in findings.items() if finding["state"] != "ok"]
    response.status_code = 503 if reasons else 200
    response.headers["Cache-Control"] = "no-store"
    spooler, ray = findings["spooler"], findings.get("ray", {})
    return {
        "kodosumi_version": __version__,
        "python_version": platform.python_version(),
        "ray_version": version("ray"),
        "ray_status": ray.get("nodes", []),
        "spooler_status": _spooler_status(spooler),
        "status": "down" if reasons else "ok",
        "reasons": reasons,
        "parts": findings,
    }


def _spooler_status(finding: Finding) -> Finding:
    if finding["state"] != "ok":
        return {"error": finding["detail"]}
    # Published as the number of one local process; spoolers may be many and elsewhere, so there is no one pid.
    return {"pid": None, "active": finding["total"], "total": finding["total"]}


async def _answer(question: Question) -> Finding:
    try:
        return await question()
    except KodosumiError as exc:
        return {"state": "down", "detail": str(exc) or type(exc).__name__}
    except Exception as exc:
        return {"state": "down", "detail": f"{type(exc).__name__}: {exc}"}
