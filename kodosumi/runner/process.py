"""One runner process as the pool sees it: an actor of its own, made for one environment, ended when it is used up."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from typing import Any

import ray

from ..cluster import NAMESPACE
from ..transport import ProducerTicket
from .main import Runner, RunOutcome
from .spec import AppEnvironment, RunSpec

NAME_PREFIX = "runner-"
CONTROL_CALLS = 64
"""Calls a runner answers at once: one held run, one held wait, and room for cancels."""


class RunnerProcess:
    """A handle to one runner actor.

    Attributes:
        key: its environment's key.
        runs: runs it has served.
        idle_since: clock (monotonic seconds) when it became idle.
    """

    def __init__(self, key: str, actor: Any) -> None:
        self.key = key
        self.runs = 0
        self.idle_since = time.monotonic()
        self._actor = actor

    @classmethod
    async def start(cls, environment: AppEnvironment, expected: Sequence[str | bytes] = ()) -> RunnerProcess:
        """Starts a process and waits until it can serve.

        Args:
            environment: where its code lives.
            expected: entry points it will probably be given.

        Raises:
            ray.exceptions.RayError: it can't be started in this environment, with Ray's reason.
        """
        # Detached, so that a run survives the pool; found again by the environment's key in its name.
        actor = (
            ray.remote(Runner)
            .options(
                name=f"{NAME_PREFIX}{environment.key}-{uuid.uuid4().hex[:8]}",
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=0,
                max_restarts=0,
                max_concurrency=CONTROL_CALLS,
                runtime_env=_runtime_env(environment) or None,
            )
            .remote(environment)
        )
        process = cls(environment.key, actor)
        try:
            await actor.ready.remote(list(expected))
        except BaseException:
            process.end()
            raise
        return process

    @classmethod
    def adopt(cls, name: str) -> RunnerProcess:
        """The handle of a process that an earlier pool started.

        Raises:
            ValueError: it is gone.
        """
        return cls(name.removeprefix(NAME_PREFIX).rpartition("-")[0], ray.get_actor(name, namespace=NAMESPACE))

    async def run(self, spec: RunSpec, ticket: ProducerTicket) -> RunOutcome:
        """Serves a run; returns when its terminal event is in the transport. A held call: it fails with the process."""
        self.runs += 1
        outcome: RunOutcome = await self._actor.run.remote(spec, ticket)
        return outcome

    async def wait(self) -> RunOutcome | None:
        """Returns when the current run is over; for a pool that found the process at work."""
        outcome: RunOutcome | None = await self._actor.wait.remote()
        return outcome

    async def current(self) -> tuple[str, ProducerTicket] | None:
        """The run it serves now."""
        current: tuple[str, ProducerTicket] | None = await self._actor.current.remote()
        return current

    async def cancel(self, fid: str, by: str) -> None:
        """Asks the run to end."""
        await self._actor.cancel.remote(fid, by)

    def end(self) -> None:
        """Kills the process at once; idempotent."""
        ray.kill(self._actor, no_restart=True)


def _runtime_env(environment: AppEnvironment) -> dict[str, Any]:
    """Ray's environment for a runner. Tasks of user code inherit it, so that they find the app's code too."""
    merged = dict(environment.runtime_env)
    variables = dict(merged.get("env_vars") or {})
    inherited = variables.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")).split(os.pathsep)
    path = dict.fromkeys(entry for entry in [*environment.python_path, *inherited] if entry)
    return {**merged, "env_vars": {**variables, "PYTHONPATH": os.pathsep.join(path)}} if path else merged
