"""The workflow as somebody might change it: once against the rules of its module, once by them."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from kodosumi.workflows import WORKFLOW, AgentWorkflow, LaunchInput


@workflow.defn(name=WORKFLOW)
class Careless(AgentWorkflow):
    """Waits a moment before anything else."""

    @workflow.run
    async def run(self, launch: LaunchInput) -> str:
        await asyncio.sleep(1)
        return await super().run(launch)


@workflow.defn(name=WORKFLOW)
class Patched(AgentWorkflow):
    """The same, for runs that begin with it."""

    @workflow.run
    async def run(self, launch: LaunchInput) -> str:
        if workflow.patched("2.1-a-moment"):
            await asyncio.sleep(1)
        return await super().run(launch)
