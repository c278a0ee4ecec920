"""What health shows: who reads how much, how far behind, and since when."""

from __future__ import annotations

import asyncio
from typing import Any

from ..base import ConsumerStatus, TransportStatus
from .connection import Connection
from .names import Names
from .scripts import FIGURES, SURVEY

MOST_EXECUTIONS = 10_000
"""Executions looked at; where there are more, the figures are of so many."""

AT_ONCE = 1000


async def survey(connection: Connection, names: Names) -> TransportStatus:
    """The figures of now.

    Raises:
        RedisUnavailable: not reachable now.
    """
    readers = await connection.run(SURVEY, [names.consumers], names.base, MOST_EXECUTIONS)
    events, oldest_s, waiting_producers = 0, 0.0, 0
    consumers = []
    for id_, name, last_commit_ms, held, fids in readers:
        figures = await _figures(connection, names, [fid.decode() for fid in fids])
        lag_events = sum(waiting for waiting, _, _ in figures)
        lag_s = max((age_ms for _, age_ms, _ in figures), default=0) / 1000
        events, oldest_s = events + lag_events, max(oldest_s, lag_s)
        waiting_producers += sum(producers for _, _, producers in figures)
        if id_:
            last_commit_at = int(last_commit_ms) / 1000 if last_commit_ms else None
            consumers.append(ConsumerStatus(id_.decode(), name.decode(), held, lag_events, lag_s, last_commit_at))
    return TransportStatus(events, oldest_s, len(consumers), tuple(consumers), waiting_producers)


async def _figures(connection: Connection, names: Names, fids: list[str]) -> list[Any]:
    keys = [names.state(fid) for fid in fids]
    if connection.in_cluster:
        each = await asyncio.gather(*(connection.run(FIGURES, [key]) for key in keys))
        return [figure for figures in each for figure in figures]
    found = []
    for start in range(0, len(keys), AT_ONCE):
        found += await connection.run(FIGURES, keys[start : start + AT_ONCE])
    return found
