"""The first events of every run, put before it is accepted."""

from __future__ import annotations

from ..events import Event, EventKind, ExecutionState
from .spec import RunSpec


def head_events(spec: RunSpec) -> list[Event]:
    """Status ``starting``, the inputs and the metadata, in the published order."""
    return [
        Event.now(EventKind.STATUS, ExecutionState.STARTING),
        Event.now(EventKind.INPUTS, spec.inputs_payload),
        Event.now(EventKind.META, spec.meta_payload),
    ]
