"""Crews: announces their agents and tasks, and reports their steps through the tracer.

Works with any object of crewAI's shape and imports nothing of it: ``agents``, ``tasks``, ``kickoff_async`` (or
``kickoff``), ``step_callback``, ``task_callback``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from ..events import Event, EventKind
from .tracer import Tracer


async def run_crew(crew: Any, inputs: Any, tracer: Tracer) -> Any:
    """Runs a crew and gives its output; its steps and task outputs become events.

    Args:
        crew: the crew. inputs: a dict or a model, which is dumped. tracer: of the run.
    """
    events = agent_events(crew)
    if events:
        await tracer.emit(events)
    with _reporting(crew, tracer):
        if hasattr(crew, "kickoff_async"):
            return await crew.kickoff_async(inputs=_plain(inputs))
        return await asyncio.to_thread(crew.kickoff, inputs=_plain(inputs))


def agent_events(crew: Any) -> list[Event]:
    """An ``agent`` event per agent, then one per task."""
    agents = [{"agent": _agent(agent)} for agent in getattr(crew, "agents", None) or ()]
    tasks = [{"task": _task(task)} for task in getattr(crew, "tasks", None) or ()]
    return [Event.now(EventKind.AGENT, json.dumps({"dict": content})) for content in [*agents, *tasks]]


def _agent(agent: Any) -> dict[str, Any]:
    texts = {name: _text_of(agent, name) for name in ("role", "goal", "backstory")}
    return {**texts, "tools": _tools(agent)}


def _task(task: Any) -> dict[str, Any]:
    texts = {name: _text_of(task, name) for name in ("name", "description", "expected_output")}
    agent = getattr(task, "agent", None)
    # The task's own tools, not its agent's: they differ as soon as the author gives a task one.
    return {**texts, "agent": _text_of(agent, "role"), "tools": _tools(task)}


def _tools(owner: Any) -> list[dict[str, str | None]]:
    tools: Sequence[Any] = getattr(owner, "tools", None) or ()
    return [{"name": _text_of(tool, "name"), "description": _text_of(tool, "description")} for tool in tools]


def _text_of(owner: Any, name: str) -> str | None:
    value = getattr(owner, name, None)
    return None if value is None else str(value).strip()


def _plain(inputs: Any) -> Any:
    return inputs.model_dump() if isinstance(inputs, BaseModel) else (inputs or {})


@contextlib.contextmanager
def _reporting(crew: Any, tracer: Tracer) -> Iterator[None]:
    """Reports to the tracer, then to the author's own callbacks, which are put back afterwards.

    An agent with a step callback of its own is never given the crew's, so it gets one that reports as well.
    """
    own_steps = [agent for agent in getattr(crew, "agents", None) or () if getattr(agent, "step_callback", None)]
    places = [
        (crew, "step_callback", tracer.action_sync),
        (crew, "task_callback", tracer.result_sync),
        *((agent, "step_callback", tracer.action_sync) for agent in own_steps),
    ]
    before = [(owner, name, getattr(owner, name, None)) for owner, name, _ in places]
    for owner, name, report in places:
        setattr(owner, name, _both(report, getattr(owner, name, None)))
    try:
        yield
    finally:
        for owner, name, callback in before:
            setattr(owner, name, callback)


def _both(report: Callable[..., None], own: Callable[..., Any] | None) -> Callable[[Any], Any]:
    def call(output: Any) -> Any:
        report(output)
        return own(output) if own is not None else None

    return call
