"""What a launch hands to the cluster: everything a runner needs to serve one run, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..transport import ProducerTicket
    from .lock_types import OpenLock


@dataclass(frozen=True, slots=True)
class AppEnvironment:
    """Where an app's code can be imported: runs of equal environments may share warm runner processes.

    Attributes:
        app: name of the app (module that made its ServeAPI, or Serve's application name).
        runtime_env: Ray's runtime environment of the process that launches, as Ray publishes it.
        python_path: entries of the launching process's ``sys.path`` that a plain Python lacks, its folder included.
        working_dir: the launching process's current folder; used when it exists where the runner starts.
    """

    app: str
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    python_path: tuple[str, ...] = ()
    working_dir: str | None = None

    @property
    def key(self) -> str:
        """Equal for equal environments; short, safe in actor names."""
        text = json.dumps(
            [self.app, dict(self.runtime_env), self.python_path, self.working_dir], sort_keys=True, default=str
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RunFiles:
    """How a run, and each remote task that takes its tracer, reaches its files.

    Attributes:
        panel_url: address of the panel, "" without one.
        token: for that run's files at the panel, and nothing else; "" without a panel.
        root: absolute folder under which the store keeps files, as ``<role id>/<fid>/in`` and ``…/out``; "" when
            it keeps them elsewhere.
        mark: what the file :data:`kodosumi.files.base.MARK` in ``root`` holds, so that an equally named folder of
            another machine isn't taken for it; "": ``root`` is this process's own choice and needs none.
    """

    panel_url: str = ""
    token: str = ""
    root: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was in place before the run began.

    Attributes:
        path: with its root, as in ``in/report.pdf``. size: bytes. last_modified: seconds since the epoch.
    """

    path: str
    size: int
    last_modified: float


@dataclass(frozen=True, slots=True)
class Retry:
    """When user code is called again after it raised, as ``@app.enter(..., retry=Retry(...))`` says.

    Whatever it raises after the last attempt ends the run; a cancel, and inputs or an entry point that can't be used,
    end it at once.

    Attributes:
        max_attempts: calls in all, the first included.
        on: exception classes, or their names as in ``"ValueError"`` and ``"my_service.errors.Busy"``; subclasses
            count. Empty: any :class:`Exception`.
        delay: seconds before the second attempt; doubled for each further one, up to a minute.
    """

    max_attempts: int = 3
    on: Sequence[type[BaseException] | str] = ()
    delay: float = 1.0


@dataclass(frozen=True, slots=True)
class KeptLock:
    """A lock of an earlier attempt, for the next one: user code that asks for the same gets it instead of a new one.

    The same: equal name, data, assignees and four eyes.

    Attributes:
        lid: its id. name, data, expires, assignee, four_eyes: as in its ``lock`` event (plain JSON values).
        answered: whether it has its answer; else it's still open, under the same id.
        result: the answer, as plain JSON values.
    """

    lid: str
    name: str
    data: Any
    expires: float
    assignee: tuple[str, ...] | None = None
    four_eyes: bool = False
    answered: bool = False
    result: Any = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which call of a run's code this is, and what it takes over from the one before.

    Attributes:
        number: 1, 2, ….
        reason: why the one before ended, for the ``attempt`` event; "" for the first.
        kept: locks of earlier attempts, in the order they were opened.
        paused_by: who had the run paused; it waits before user code is called. None: it isn't paused.
        time_limit_s: running time (neither paused nor waiting for a lock) after which it's ended; None: no limit.
        last: whether an exception that :class:`Retry` names ends the run all the same.
        ran_s: running time of earlier attempts, which the limit's notice counts too.
    """

    number: int = 1
    reason: str = ""
    kept: tuple[KeptLock, ...] = ()
    paused_by: str | None = None
    time_limit_s: float | None = None
    last: bool = False
    ran_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One accepted launch.

    Attributes:
        fid: execution id.
        username: role id of the owner, ``_annon_`` without a panel.
        environment: where its code lives.
        entry_point: ``pkg.mod:name`` as text, or a cloudpickled object.
        inputs: the cloudpickled inputs.
        inputs_payload: payload of the ``inputs`` event (wrapped JSON).
        meta_payload: payload of the ``meta`` event (wrapped JSON).
        panel_url: address of the panel, "" without one.
        app_url: address of the app as the panel knows it, "" without one.
        locks: names that the app has an ``@app.lock`` for; None when nobody could say.
        files: how it reaches its files.
        uploads: what lies in its ``in/``; told in an ``upload`` event after the first ``running``.
        retry: when user code is called again after it raised; None: never.
        durable: whether somebody outlives its process and sees to the next attempt. Its producers are fenced by
            attempt then, its first event is in the transport before user code is called, its ``attempt`` events are
            that somebody's, and its process's death doesn't end it.
        attempt: this one.
    """

    fid: str
    username: str
    environment: AppEnvironment
    entry_point: str | bytes
    inputs: bytes
    inputs_payload: str
    meta_payload: str
    panel_url: str = ""
    app_url: str = ""
    locks: tuple[str, ...] | None = None
    files: RunFiles = field(default_factory=RunFiles)
    uploads: tuple[UploadedFile, ...] = ()
    retry: Retry | None = None
    durable: bool = False
    attempt: Attempt = field(default_factory=Attempt)


class AttemptEnd(StrEnum):
    """How an attempt of a durable run ended."""

    OVER = "over"
    """The terminal event is in the transport, put by this attempt (``finished``, ``error``, killed)."""

    RAISED = "raised"
    """User code raised what it is to be called again for; no terminal event was put."""

    DIED = "died"
    """Its process is gone, without a terminal event."""

    CLOSED = "closed"
    """Nothing of it was taken any more: the execution had its end, or a later attempt has begun."""


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What became of an attempt of a durable run.

    Attributes:
        end: how it ended. reason: in words, as the next attempt's event will tell it.
        ran_s: running time, as far as it's known.
    """

    end: AttemptEnd
    reason: str = ""
    ran_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """What a runner at work tells a pool that has just found it (``Runner.current``).

    Attributes:
        spec: what it runs, with the attempt it is at.
        ticket: ends the run; its producers' own, attempt included.
        waits: whether its own process waits for a lock.
        open_locks: of a durable run, those that wait for an answer.
        paused_by: who had it paused; None: it isn't.
        ran_s: running time of this attempt until now.
    """

    spec: RunSpec
    ticket: ProducerTicket
    waits: bool = False
    open_locks: tuple[OpenLock, ...] = ()
    paused_by: str | None = None
    ran_s: float = 0.0
