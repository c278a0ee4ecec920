"""One runner process as the pool sees it: an actor of its own, made for one environment, ended when it is used up."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from ..cluster import NAMESPACE, ON_WORKING_NODES
from ..error import ExecutionNotFound, KodosumiError, LaunchUnavailable
from ..transport import ProducerTicket
from .lock_types import LockAnswer, LockClaim, OpenLock
from .main import Runner, RunOutcome
from .spec import AppEnvironment, CurrentRun, RunSpec

NAME_PREFIX = "runner-"
CONTROL_CALLS = 10_000
"""Calls a runner answers at once: one held run, one held wait, those of locks, and room for cancels."""


class RunnerProcess:
    """A handle to one runner actor.

    Attributes:
        key: its environment's key.
        runs: runs it has served.
        idle_since: clock (monotonic seconds) when it became idle.
        waits, paused: whether its run waits for a lock, or is paused.
        name: of the actor, in the cluster's namespace.
    """

    def __init__(self, key: str, actor: Any, name: str = "") -> None:
        self.key = key
        self.name = name
        self.runs = 0
        self.idle_since = time.monotonic()
        self.waits = False
        self.paused = False
        self._actor = actor

    @property
    def rests(self) -> bool:
        """Whether its run takes nobody's place: it waits for a human."""
        return self.waits or self.paused

    @classmethod
    async def start(
        cls, environment: AppEnvironment, expected: Sequence[str | bytes] = (), log_format: str = "text"
    ) -> RunnerProcess:
        """Starts a process and waits until it can serve.

        Args:
            environment: where its code lives.
            expected: entry points it will probably be given. log_format: of its own log lines.

        Raises:
            ray.exceptions.RayError: it can't be started in this environment, with Ray's reason.
        """
        # Detached, so that a run survives the pool; found again by the environment's key in its name.
        name = f"{NAME_PREFIX}{environment.key}-{uuid.uuid4().hex[:8]}"
        actor = (
            ray.remote(Runner)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=0,
                label_selector=ON_WORKING_NODES,
                max_restarts=0,
                max_concurrency=CONTROL_CALLS,
                runtime_env=_runtime_env(environment) or None,
            )
            .remote(environment, name, log_format)
        )
        process = cls(environment.key, actor, name)
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
        return cls(name.removeprefix(NAME_PREFIX).rpartition("-")[0], ray.get_actor(name, namespace=NAMESPACE), name)

    async def run(
        self, spec: RunSpec, ticket: ProducerTicket, lock_expires_s: float = 10_800.0, pool: Any = None
    ) -> RunOutcome:
        """Serves an attempt of a run; returns when its end, or all that it told, is in the transport.

        A held call: it fails with the process.

        Args:
            spec: what to run. ticket: where its events go.
            lock_expires_s: seconds until a lock expires that names no timeout.
            pool: the pool's actor, whose ``waits`` is told when the run waits for a lock.
        """
        self.runs += 1
        outcome: RunOutcome = await self._actor.run.remote(spec, ticket, lock_expires_s, pool)
        return outcome

    async def wait(self) -> RunOutcome | None:
        """Returns when the current run is over; for a pool that found the process at work."""
        outcome: RunOutcome | None = await self._actor.wait.remote()
        return outcome

    async def current(self, pool: Any = None) -> CurrentRun | None:
        """The run it serves now; later changes of its waiting are told to this pool's actor."""
        current: CurrentRun | None = await self._actor.current.remote(pool)
        return current

    async def cancel(self, fid: str, by: str) -> None:
        """Asks the run to end."""
        await self._actor.cancel.remote(fid, by)

    async def pause(self, fid: str, by: str) -> bool:
        """Has the run's code wait; returns when that is in the transport. False: its code isn't running here."""
        return bool(await self._actor.pause.remote(fid, by))

    async def resume(self, fid: str, by: str) -> bool:
        """Lets the run's code go on; returns when that is in the transport. False: its code isn't running here."""
        return bool(await self._actor.resume.remote(fid, by))

    async def lock(self, fid: str, lid: str) -> OpenLock:
        """As :meth:`ExecutionMode.lock` says, like the next two."""
        lock: OpenLock = await _own_errors(fid, self._actor.open_lock.remote(fid, lid))
        return lock

    async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim:
        claimed: LockClaim = await _own_errors(fid, self._actor.claim_lock.remote(fid, lid, claim))
        return claimed

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        await _own_errors(fid, self._actor.settle_lock.remote(fid, lid, claim, answer))

    async def took(self, claim: str) -> bool:
        """Whether it took a claim's answer, for a run that may be over; False too when it can't say."""
        try:
            return bool(await self._actor.took.remote(claim))
        except RayError:
            return False

    def end(self) -> None:
        """Kills the process at once; idempotent."""
        ray.kill(self._actor, no_restart=True)


async def _own_errors(fid: str, reference: Any) -> Any:
    """What a call answers, its errors as they were raised: Ray's copies of them don't pass on as what they are."""
    try:
        return await reference
    except RayTaskError as exc:
        if isinstance(exc.cause, KodosumiError):
            raise exc.cause from None
        raise
    except ActorUnavailableError as exc:
        raise LaunchUnavailable("The run's process does not answer now. Try again.") from exc
    except RayActorError as exc:
        raise ExecutionNotFound(fid) from exc


def _runtime_env(environment: AppEnvironment) -> dict[str, Any]:
    """Ray's environment for a runner. Tasks of user code inherit it, so that they find the app's code too."""
    merged = dict(environment.runtime_env)
    variables = dict(merged.get("env_vars") or {})
    inherited = variables.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")).split(os.pathsep)
    path = dict.fromkeys(entry for entry in [*environment.python_path, *inherited] if entry)
    return {**merged, "env_vars": {**variables, "PYTHONPATH": os.pathsep.join(path)}} if path else merged
