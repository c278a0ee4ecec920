"""Execution mode ``temporal``: a workflow sees to it that each run ends, whatever dies; the pool runs it as ever.

What is launched is kept in the store, the workflow holds ids alone, and events go their usual way. A run is steered
through its workflow, so that the wish survives everything, and in the pool at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from ..config import Settings
from ..error import ExecutionNotFound, LaunchUnavailable, StoreUnavailable
from ..runner.lock_types import LockAnswer, LockClaim, OpenLock
from ..runner.spec import AppEnvironment, Retry, RunSpec
from ..runner.tasks import BackgroundTasks
from . import temporal_client
from .direct import DirectMode
from .temporal_client import FAILURES, Client, RPCError, RPCStatusCode, attributes_of, flow_of, is_open

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle

    from ..store import ExecutionStore

logger = logging.getLogger(__name__)

CALLS_AT_ONCE = 20
"""Questions about workflows that one ``known`` has under way."""

SIGNAL_TRIES, SIGNAL_PAUSE_S = 60, 1.0
"""How long an accepted launch is made known to its workflow; after that, the workflow asks the store itself."""

ATTRIBUTES_AGAIN_S = 60.0
MAX_NAME = 40
CHANGE_TIMEOUT_S, CHANGE_PAUSE_S = 5.0, 0.2
STARTING_AGAIN = "The run is being started again. Try again."

Answer = TypeVar("Answer")


class TemporalMode:
    """Starts and signals workflows; the rest is the pool's.

    Args:
        settings: of this process. direct: the way to the pool; made from the settings by default.
    """

    name = "temporal"

    def __init__(self, settings: Settings, direct: DirectMode | None = None) -> None:
        self._settings = settings
        self._direct = direct or DirectMode(settings)
        self._client: Client | None = None
        self._stores: dict[str, ExecutionStore] = {}
        self._without_attributes_until = 0.0
        self._tasks = BackgroundTasks()

    @classmethod
    def from_settings(cls, settings: Settings) -> TemporalMode:
        """For the family's factory."""
        return cls(settings)

    # launching -------------------------------------------------------------------------------------------------------

    async def launch(self, spec: RunSpec) -> None:
        spec = replace(spec, durable=True)
        store = await self._store_of(spec)
        kept = asyncio.create_task(store.keep_launch(spec.fid, spec.username, cloudpickle.dumps(spec)))
        try:
            begun = await self._start(spec)
        except BaseException:
            await asyncio.shield(self._drop(store, spec, kept))
            raise
        try:
            await kept
            if begun or not await self._is_stored(store, spec.fid):
                await self._direct.announce(spec)
        except BaseException as exc:
            if begun:
                await asyncio.shield(self._call_off(store, spec, kept))
            if isinstance(exc, StoreUnavailable):
                raise LaunchUnavailable(f"The run was not started: {exc}. Try again later.") from exc
            raise
        await self._accept(spec)

    async def _start(self, spec: RunSpec) -> bool:
        """Starts the run's workflow; False when it lives already.

        Raises:
            LaunchUnavailable: it can't be, and nothing was started.
        """
        from temporalio.common import WorkflowIDReusePolicy
        from temporalio.exceptions import WorkflowAlreadyStartedError

        try:
            await self._asked(lambda client: self._begin(client, spec, WorkflowIDReusePolicy.REJECT_DUPLICATE))
        except WorkflowAlreadyStartedError:
            described = await self._asked(lambda client: client.get_workflow_handle(self._id(spec.fid)).describe())
            if is_open(described):
                return False
            return await self._start_over(spec)
        return True

    async def _start_over(self, spec: RunSpec) -> bool:
        """For a launch whose workflow is closed: the run is over, or was never accepted and may begin now."""
        from temporalio.common import WorkflowIDReusePolicy
        from temporalio.exceptions import WorkflowAlreadyStartedError

        if await self._is_stored(await self._store_of(spec), spec.fid):
            return False
        only_failed = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        try:
            await self._asked(lambda client: self._begin(client, spec, only_failed))
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _begin(self, client: Client, spec: RunSpec, reuse: Any) -> None:
        from ..workflows import WORKFLOW, LaunchInput

        retry = spec.retry or Retry(max_attempts=1)
        flow = flow_of(spec)
        attributes = time.monotonic() >= self._without_attributes_until
        start = functools.partial(
            client.start_workflow,
            WORKFLOW,
            LaunchInput(
                spec.fid,
                spec.username,
                flow,
                retry.max_attempts,
                retry.delay,
                self._settings.temporal_execution_timeout,
            ),
            id=self._id(spec.fid),
            task_queue=self._settings.temporal_task_queue,
            id_reuse_policy=reuse,
            memo={"username": spec.username},
            static_summary=f"{flow} for {spec.username[:MAX_NAME]}",
        )
        try:
            await start(search_attributes=attributes_of(spec, flow) if attributes else None)
        except RPCError as exc:
            if not attributes or exc.status != RPCStatusCode.INVALID_ARGUMENT or "earch attribute" not in exc.message:
                raise
            if not self._without_attributes_until:
                logger.warning("workflows are started without search attributes: %s", exc.message)
            self._without_attributes_until = time.monotonic() + ATTRIBUTES_AGAIN_S
            await start()

    async def _accept(self, spec: RunSpec) -> None:
        """Tells the workflow that the run is accepted; again when Temporal is away just now, since the run exists."""
        try:
            if await self._signal(spec.fid, "accepted"):
                return
        except LaunchUnavailable as exc:
            logger.warning("%s is accepted, its workflow will be told: %s", spec.fid, exc)
            self._tasks.spawn(self._accept_later(spec.fid))
            return
        # Closed: it's over already, or somebody ended it before it was accepted.
        if await self._direct.end(spec.fid, spec.username, "The run's workflow was ended before it was accepted."):
            raise LaunchUnavailable("The run was not started: its workflow was ended. Try again.")

    async def _accept_later(self, fid: str) -> None:
        for _ in range(SIGNAL_TRIES):
            await asyncio.sleep(SIGNAL_PAUSE_S)
            with contextlib.suppress(LaunchUnavailable):
                await self._signal(fid, "accepted")
                return

    async def _call_off(self, store: ExecutionStore, spec: RunSpec, kept: asyncio.Task[None]) -> None:
        """Ends the workflow of a launch that could not be announced; else it would ask the store, and end itself."""
        with contextlib.suppress(LaunchUnavailable):
            await self._asked(
                lambda client: client.get_workflow_handle(self._id(spec.fid)).terminate(
                    "The run could not be accepted."
                )
            )
        await self._drop(store, spec, kept)

    async def _drop(self, store: ExecutionStore, spec: RunSpec, kept: asyncio.Task[None]) -> None:
        """Forgets what was kept for a launch that failed, unless an earlier one of the same run was accepted."""
        await asyncio.gather(kept, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable, LaunchUnavailable):
            if not await self._direct.known([spec.fid]) and not await self._is_stored(store, spec.fid):
                await store.drop_launch(spec.fid)

    # steering --------------------------------------------------------------------------------------------------------

    async def cancel(self, fid: str, by: str) -> bool:
        taken, trouble = await self._wish(fid, "cancel", by)
        if await self._direct.cancel(fid, by):
            return True
        if trouble is not None:
            raise trouble
        if not taken:
            return False
        return await self._direct.end(fid, await self._username(fid), f"killed by {by}")

    async def pause(self, fid: str, by: str) -> bool:
        taken, trouble = await self._wish(fid, "pause", by)
        return await self._direct.pause(fid, by) or await self._remembered(
            fid, taken, trouble, lambda owner: self._direct.pause(fid, by, owner)
        )

    async def resume(self, fid: str, by: str) -> bool:
        taken, trouble = await self._wish(fid, "resume", by)
        return await self._direct.resume(fid, by) or await self._remembered(
            fid, taken, trouble, lambda owner: self._direct.resume(fid, by, owner)
        )

    async def _wish(self, fid: str, action: str, by: str) -> tuple[bool, LaunchUnavailable | None]:
        """Whether the run's workflow took a wish; or why nobody could ask it."""
        try:
            return await self._signal(fid, action, by, True), None
        except LaunchUnavailable as exc:
            return False, exc

    async def _remembered(
        self, fid: str, taken: bool, trouble: LaunchUnavailable | None, tell: Callable[[str], Awaitable[bool]]
    ) -> bool:
        """Whether a wish that no process of the run could be told will be its next attempt's.

        Args:
            tell: brings it into the stream of a run that nobody serves and the pool has forgotten, if that has no end.
        """
        if trouble is not None:
            raise trouble
        return taken and await self._is_open(fid) and await tell(await self._username(fid))

    async def _username(self, fid: str) -> str:
        described = await self._asked(lambda client: client.get_workflow_handle(self._id(fid)).describe())
        return str((await described.memo()).get("username", ""))

    # what is known ---------------------------------------------------------------------------------------------------

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        known = await self._direct.known(fids)
        turns = asyncio.Semaphore(CALLS_AT_ONCE)

        async def ask(fid: str) -> str | None:
            async with turns:
                return fid if await self._is_open(fid) else None

        others = await asyncio.gather(*(ask(fid) for fid in fids if fid not in known))
        return known.union(fid for fid in others if fid is not None)

    async def _is_open(self, fid: str) -> bool:
        """Whether a run's workflow is open, and not just because it hasn't heard of the end yet."""

        async def describe(client: Client) -> bool:
            try:
                return is_open(await client.get_workflow_handle(self._id(fid)).describe())
            except RPCError as exc:
                if exc.status == RPCStatusCode.NOT_FOUND:
                    return False
                raise

        return await self._asked(describe) and not await self._shows_end(fid)

    async def _shows_end(self, fid: str) -> bool:
        """Whether a store of this process shows the run's end."""
        self._store_in("")
        for store in list(self._stores.values()):
            with contextlib.suppress(ExecutionNotFound, StoreUnavailable):
                if (await store.execution(fid)).state.terminal:
                    return True
        return False

    # the pool's part -------------------------------------------------------------------------------------------------

    async def lock(self, fid: str, lid: str) -> OpenLock:
        return await self._of_attempt(fid, lambda: self._direct.lock(fid, lid))

    async def claim_lock(self, fid: str, lid: str) -> LockClaim:
        return await self._of_attempt(fid, lambda: self._direct.claim_lock(fid, lid))

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        await self._of_attempt(fid, lambda: self._direct.settle_lock(fid, lid, claim, answer))

    async def workers(self) -> int:
        """How many workers live that look after runs.

        Raises:
            LaunchUnavailable: Temporal can't be asked.
        """
        return len(await self._asked(lambda client: temporal_client.pollers(client, self._settings)))

    async def places(self) -> dict[str, int]:
        return await self._direct.places()

    async def configure(self) -> None:
        await self._direct.configure()

    async def refuse(self, reason: str | None) -> None:
        await self._direct.refuse(reason)

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        await self._direct.warm(environment, wanted_s)

    async def figures(self) -> dict[str, int]:
        return await self._direct.figures()

    async def restarted(self) -> None:
        await self._direct.restarted()

    async def close(self) -> None:
        self._client = None
        stores, self._stores = self._stores, {}
        await asyncio.gather(*(store.close() for store in stores.values()))
        await self._direct.close()

    async def _of_attempt(self, fid: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """A run that no process serves now isn't over while its workflow is open.

        Asked again for a while: its next attempt may begin, or it has just ended, as the store and Temporal will know.
        """
        patient_until = time.monotonic() + CHANGE_TIMEOUT_S
        while True:
            try:
                return await call()
            except ExecutionNotFound:
                if not await self._is_open(fid):
                    raise
            if time.monotonic() > patient_until:
                raise LaunchUnavailable(STARTING_AGAIN)
            await asyncio.sleep(CHANGE_PAUSE_S)

    # Temporal and the store ------------------------------------------------------------------------------------------

    def _id(self, fid: str) -> str:
        return f"{self._settings.temporal_workflow_id_prefix}{fid}"

    async def _signal(self, fid: str, signal: str, *args: Any) -> bool:
        """Signals a run's workflow; False when there is none that is open."""

        async def send(client: Client) -> bool:
            handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(self._id(fid))
            try:
                await handle.signal(signal, args=args)
            except RPCError as exc:
                if exc.status == RPCStatusCode.NOT_FOUND:
                    return False
                raise
            return True

        return await self._asked(send)

    async def _asked(self, call: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """What Temporal answers.

        Raises:
            LaunchUnavailable: it doesn't.
        """
        if self._client is None:
            self._client = await temporal_client.connect(self._settings)
        try:
            async with asyncio.timeout(temporal_client.CALL_TIMEOUT_S):
                return await call(self._client)
        except (*FAILURES, TimeoutError) as exc:
            raise temporal_client.unavailable(self._settings, exc) from exc

    async def _store_of(self, spec: RunSpec) -> ExecutionStore:
        """The store that the worker reads too: for SQLite, the folder that the panel named and that is really its."""
        files, named = spec.files, False
        if not self._settings.execution_database and files.root:
            named = await asyncio.to_thread(_is_marked, files.root, files.mark)
        return self._store_in(files.root if named else "")

    def _store_in(self, folder: str) -> ExecutionStore:
        """A store of this process, made when it's first asked for; "": the settings'."""
        from ..store import connect_store

        if folder not in self._stores:
            changes = {"exec_dir": Path(folder)} if folder else {}
            self._stores[folder] = connect_store(self._settings.model_copy(update=changes))
        return self._stores[folder]

    async def _is_stored(self, store: ExecutionStore, fid: str) -> bool:
        """Whether the store shows the run: then it was announced before."""
        try:
            await store.execution(fid)
        except ExecutionNotFound:
            return False
        except StoreUnavailable as exc:
            raise LaunchUnavailable(f"The run was not started: {exc}. Try again later.") from exc
        return True


def _is_marked(root: str, mark: str) -> bool:
    """Whether a folder is on this machine and is the one that was meant; blocks."""
    from ..files.local import marked

    return not mark or marked(Path(root), mark)
