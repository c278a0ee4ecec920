"""A whole engine without a panel: by default direct mode, the Ray transport, a spooler over a memory store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle

from kodosumi.config import Settings
from kodosumi.error import KodosumiError
from kodosumi.events import EventKind, StoredEvent, new_fid
from kodosumi.execution import ExecutionMode
from kodosumi.execution.direct import DirectMode
from kodosumi.runner.payload import wrap
from kodosumi.runner.spec import AppEnvironment, RunSpec
from kodosumi.spooler import Spooler
from kodosumi.store import Execution
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport import Transport, connect_transport
from tests.conditions import until

OWNER = "0d4e9c6e-0000-4000-8000-000000000001"
RUN_S = 120.0
"""What a short run may take on a loaded machine, its process's start included."""


class Engine:
    """Launches runs and reads what is stored of them.

    Args:
        settings: of all its parts. folder: where its code lies.
        mode: and transport: when they are others than the settings say, as those in memory have to be shared.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        mode: ExecutionMode | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.mode: Any = mode or DirectMode(settings)
        self.store = MemoryExecutionStore()
        self.spooler = Spooler(
            settings,
            store=self.store,
            transport=transport or connect_transport(settings),
            mode=mode or DirectMode(settings),
        )

    def module(self, name: str, source: str) -> None:
        """Writes a module that runs can name; one that is the same already stays untouched."""
        path = self.folder / f"{name}.py"
        if not path.exists() or path.read_text() != source:
            path.write_text(source)

    def spec(self, entry_point: str | Callable[..., Any], inputs: Any = None, user: str = OWNER) -> RunSpec:
        """A launch of code in this engine's folder."""
        return RunSpec(
            fid=new_fid(),
            username=user,
            environment=AppEnvironment("test", {}, (str(self.folder),), str(self.folder)),
            entry_point=entry_point if isinstance(entry_point, str) else cloudpickle.dumps(entry_point),
            inputs=cloudpickle.dumps(inputs),
            inputs_payload=wrap(inputs),
            meta_payload=wrap({"entry_point": str(entry_point)}),
        )

    async def launch(
        self, entry_point: str | Callable[..., Any], inputs: Any = None, user: str = OWNER, **changes: Any
    ) -> str:
        """Launches and returns the execution id; ``changes`` are fields of the spec."""
        spec = replace(self.spec(entry_point, inputs, user), **changes)
        await self.mode.launch(spec)
        return spec.fid

    async def ended(self, fid: str, deadline_s: float = RUN_S) -> Execution:
        """The execution, once it has its terminal state."""
        return await until(lambda: self.store.execution(fid), lambda execution: execution.state.terminal, deadline_s)

    async def events(self, fid: str) -> list[StoredEvent]:
        """All its stored events; checks that their places have no gap."""
        events = await self.store.events(fid, limit=1_000_000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return events

    async def payloads(self, fid: str, kind: EventKind) -> list[str]:
        """The payloads of one kind."""
        return [event.payload for event in await self.events(fid) if event.kind == kind]

    async def first(self, fid: str, kind: EventKind) -> str:
        """The first payload of a kind, as soon as there is one."""
        payloads = await until(lambda: self.payloads(fid, kind), bool, RUN_S)
        return payloads[0]

    async def leave_none(self) -> None:
        """Ends what still runs, as after a failure: it would take the place of other tests' runs."""
        for execution in await self.store.live():
            with contextlib.suppress(KodosumiError):
                await self.mode.cancel(execution.fid, "the test's end")
