"""Crews: their agents and tasks are announced, their steps reported, and the author's callbacks kept."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from kodosumi.core import TracerMock
from kodosumi.runner.crew import run_crew

own_calls: list[Any] = []


class Crew:
    """Of crewAI's shape: works in a thread and calls back from there."""

    def __init__(self, **given: Any) -> None:
        search = SimpleNamespace(name="search", description="finds")
        write = SimpleNamespace(name="write", description="writes")
        self.writer = SimpleNamespace(role="writer\n", goal="g", backstory="b", tools=[search], step_callback=None)
        task = SimpleNamespace(name="t", description="d", expected_output="e", agent=self.writer, tools=[write])
        self.agents = [self.writer]
        self.tasks = [task, SimpleNamespace(description="no agent")]
        self.step_callback = self.task_callback = None
        self.__dict__.update(given)

    def kickoff(self, inputs: dict[str, Any]) -> Any:
        (self.writer.step_callback or self.step_callback)("step")
        self.task_callback("task")
        return {"inputs": inputs}

    async def kickoff_async(self, inputs: dict[str, Any]) -> Any:
        return await asyncio.to_thread(self.kickoff, inputs)


class CrewClass:
    is_crew_class = True

    def crew(self) -> Crew:
        return Crew()


class PlainCrew:
    def kickoff(self, inputs: dict[str, Any]) -> Any:
        return sorted(inputs)


class Inputs(BaseModel):
    topic: str


async def test_a_crew_class_runs_and_is_announced(serve) -> None:
    served = await serve(f"{__name__}:CrewClass", Inputs(topic="x"))
    kinds = [kind for kind, _ in served.record.pairs]
    assert kinds == ["status", "agent", "agent", "agent", "action", "result", "final", "status"]
    agent, task, bare = [json.loads(text)["dict"] for text in served.record.payloads("agent")]
    search = {"name": "search", "description": "finds"}
    assert agent == {"agent": {"role": "writer", "goal": "g", "backstory": "b", "tools": [search]}}
    assert task == {
        "task": {
            "name": "t",
            "description": "d",
            "expected_output": "e",
            "agent": "writer",
            "tools": [{"name": "write", "description": "writes"}],
        }
    }
    assert bare["task"]["agent"] is None and bare["task"]["tools"] == []
    assert served.record.payloads("action") == ['{"str": "step"}']
    assert json.loads(served.record.payloads("final")[0]) == {"dict": {"inputs": {"topic": "x"}}}


async def test_the_authors_callbacks_are_called_and_put_back() -> None:
    calls: list[Any] = []
    crew = Crew(step_callback=lambda step: calls.append(("crew", step)), task_callback=calls.append)
    before = crew.step_callback, crew.task_callback
    tracer = TracerMock()
    assert await run_crew(crew, None, tracer) == {"inputs": {}}
    assert calls == [("crew", "step"), "task"]
    assert (crew.step_callback, crew.task_callback) == before
    assert [str(event.kind) for event in tracer.events[3:]] == ["action", "result"]


async def test_an_agents_own_step_callback_is_kept_and_reports() -> None:
    calls: list[Any] = []
    crew = Crew()
    crew.writer.step_callback = calls.append
    tracer = TracerMock()
    await run_crew(crew, None, tracer)
    assert calls == ["step"]
    assert [event.payload for event in tracer.events if event.kind == "action"] == ['{"str": "step"}']
    assert crew.writer.step_callback == calls.append


async def test_an_object_with_only_a_kickoff_runs(serve) -> None:
    served = await serve(PlainCrew(), {"b": 1, "a": 2})
    assert served.record.payloads("final") == ['{"__list__": [{"str": "a"}, {"str": "b"}]}']
