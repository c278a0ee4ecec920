"""Histories of every released version are played with the present workflow: a running one would go on with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import NondeterminismError

from kodosumi import __version__
from kodosumi.workflows import AgentWorkflow
from tests.histories.record import SCENES
from tests.unit.temporal.changed_workflows import Careless, Patched

HISTORIES = Path(__file__).parents[2] / "histories"
ALL = sorted(HISTORIES.glob("*/*.json"))


async def replay(workflow: type, path: Path) -> None:
    ours = SandboxRestrictions.default.with_passthrough_modules("kodosumi", "tests")
    replayer = Replayer(workflows=[workflow], workflow_runner=SandboxedWorkflowRunner(ours))
    await replayer.replay_workflow(WorkflowHistory.from_json(f"kodo-{path.stem}", path.read_text()))


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_kept_history_fits_the_present_workflow(path: Path) -> None:
    await replay(AgentWorkflow, path)


def test_this_version_has_a_history_of_each_kind() -> None:
    kept = {path.stem for path in ALL if path.parent.name == __version__}

    assert kept == {scene.__name__ for scene in SCENES}, "run: python -m tests.histories.record"


async def test_a_change_that_running_workflows_would_not_survive_is_caught() -> None:
    with pytest.raises(NondeterminismError):
        await replay(Careless, HISTORIES / "2.0.0" / "plain.json")


async def test_the_same_change_behind_a_patch_is_none() -> None:
    await replay(Patched, HISTORIES / "2.0.0" / "plain.json")
