"""What a panel's parts say of themselves, as metrics: the store's runs, and everything that ``/health`` knows.

A part that can't be asked now is left out, and ``kodosumi_up`` says so: a scrape never fails because of it.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from ... import __version__
from ...events import ExecutionState
from ...store import Tally
from .lately import Lately

if TYPE_CHECKING:
    from ..context import Panel
    from ..health import Health

TALLY_FRESH_S = 5.0
TALLY_TIMEOUT_S = 3.0

_PROCESSES = "_processes"

Finding = Mapping[str, Any]


class PartFigures:
    """The figures of a panel's parts, asked for when somebody wants them.

    Args:
        panel: whose parts. health: what asks them how they are, in bounded time.
    """

    def __init__(self, panel: Panel, health: Health) -> None:
        self._panel = panel
        self._health = health
        self._tally = Lately(panel.store.tally, "store", TALLY_FRESH_S, TALLY_TIMEOUT_S)
        self._info = {"version": __version__, "python": platform.python_version(), "ray": version("ray")}

    async def metrics(self) -> list[Metric]:
        """What there is now; within a few seconds, whatever is down. Never raises for a part."""
        findings, tally = await asyncio.gather(self._health.findings(), self._tally.answer())
        found: list[Metric] = [
            InfoMetricFamily("kodosumi", "What this panel runs on.", self._info),
            _up(findings, tally is not None),
            _gauge("kodosumi_sse_viewers", "Live streams that are open on this panel.", self._panel.hub.viewers),
        ]
        if tally is not None:
            found += _runs(tally)
        for part, figures in _FIGURES.items():
            found += figures(findings.get(part, {}))
        return found

    async def close(self) -> None:
        """Gives up what is still asked."""
        await self._tally.close()


def _up(findings: Mapping[str, Finding], counted: bool) -> Metric:
    metric = GaugeMetricFamily(
        "kodosumi_up", "1: the part works, as /health has it; 0: it doesn't, or gives no answer.", labels=["part"]
    )
    for part, finding in findings.items():
        works = finding["state"] == "ok" and (counted or part != "store")
        metric.add_metric([part], float(works))
    return metric


def _runs(tally: Tally) -> Iterator[Metric]:
    kept = f"Asked of the store every {TALLY_FRESH_S:g} s at most; the same on every panel."
    living = GaugeMetricFamily("kodosumi_runs", f"Runs that haven't ended, by state. {kept}", labels=["state"])
    ended = CounterMetricFamily(
        "kodosumi_runs_ended", f"Runs that have ended, by how; removed ones stay counted. {kept}", labels=["state"]
    )
    for state in ExecutionState:
        if state.terminal:
            ended.add_metric([state.value], tally.ended.get(state, 0))
        else:
            living.add_metric([state.value], tally.living.get(state, 0))
    yield from (living, ended)


def _queue(finding: Finding) -> Iterator[Metric]:
    if finding.get("state") != "ok":
        return
    yield _gauge(
        "kodosumi_queue_events", "Events in the transport that no spooler has stored.", finding["waiting_events"]
    )
    yield _gauge("kodosumi_queue_oldest_seconds", "Age of the oldest of them; 0 when none.", finding["oldest_s"])
    yield _gauge("kodosumi_queue_waiting_producers", "Producers that wait for room.", finding["waiting_producers"])
    yield _gauge("kodosumi_spoolers", "Spoolers that are alive.", finding["consumers"])


def _spoolers(finding: Finding) -> Iterator[Metric]:
    # Added up: a spooler's own name has a process id in it and would be a new label with every start.
    readers = finding.get("spoolers", [])
    if not readers:
        return
    held = sum(reader["executions"] for reader in readers)
    behind = sum(reader["lag_events"] for reader in readers)
    oldest_s = max(reader["lag_s"] for reader in readers)
    yield _gauge("kodosumi_spooler_executions", "Executions that spoolers hold now.", held)
    yield _gauge("kodosumi_spooler_lag_events", "Accepted events of these, not yet stored.", behind)
    yield _gauge("kodosumi_spooler_lag_seconds", "Age of the oldest of those; 0 when none.", oldest_s)


def _pool(finding: Finding) -> Iterator[Metric]:
    if finding.get("state") != "ok":
        return
    runs = GaugeMetricFamily("kodosumi_pool_runs", "Runs in the pool of runners, by state.", labels=["state"])
    processes = GaugeMetricFamily("kodosumi_pool_processes", "Runner processes, by state.", labels=["state"])
    for name, count in finding.items():
        if name in ("state", "detail"):
            continue
        metric = processes if name.endswith(_PROCESSES) else runs
        metric.add_metric([name.removesuffix(_PROCESSES)], count)
    yield from (metric for metric in (runs, processes) if metric.samples)


def _temporal(finding: Finding) -> Iterator[Metric]:
    if "workers" in finding:
        yield _gauge("kodosumi_temporal_workers", "Workers that poll the task queue in Temporal.", finding["workers"])


def _ray(finding: Finding) -> Iterator[Metric]:
    if "nodes" in finding:
        alive = sum(bool(node["alive"]) for node in finding["nodes"])
        yield _gauge("kodosumi_ray_nodes", "Nodes of the Ray cluster that are alive.", alive)


_FIGURES = {"transport": _queue, "spooler": _spoolers, "runs": _pool, "temporal": _temporal, "ray": _ray}


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
