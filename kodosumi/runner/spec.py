"""What a launch hands to the cluster: everything a runner needs to serve one run, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
        uploads: what lies in its ``in/``; told in an ``upload`` event after ``running``.
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
