"""How PostgreSQL finds what the panel asks for all day: by an index, whatever the number of executions and events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from kodosumi import postgres
from kodosumi.store.postgres import statements
from tests.servers.postgres import PostgresServer

ROWS, EVENTS = 5_000, 20_000
FIRST = 1_700_000_000

FILL = f"""
    INSERT INTO executions (fid, username, version, seq, state, started_at, finished_at, changed_at, modified_at,
        archived, purged)
    SELECT 'f' || lpad(n::text, 8, '0'), 'user-' || n % 10, 3, 20, 'finished', {FIRST} + n,
        CASE WHEN n % 500 = 0 THEN NULL ELSE {FIRST} + n END, {FIRST} + n, {FIRST} + n, n % 100 = 1, n % 1000 = 1
    FROM generate_series(1, {ROWS}) n;
    INSERT INTO execution_details (fid, meta, inputs, error, final, search)
    SELECT fid, '{{}}', repeat('x', 500), NULL, '', 'summary:number ' || fid FROM executions;
    INSERT INTO execution_events (fid, username, timestamp, kind, message, seq)
    SELECT 'f' || lpad((1 + n % 5)::text, 8, '0'), 'user-1', {FIRST}, CASE WHEN n % 1000 < 5 THEN 'result' ELSE 'stdout'
        END, repeat('y', 100), 1 + n / 5 FROM generate_series(0, {EVENTS} - 1) n;
    INSERT INTO execution_notices (fid, seq, kind, due_at) SELECT fid, 20, 'finished', 1e10 FROM executions;
    INSERT INTO execution_launches (fid, part, username, kept_at, launch)
    SELECT fid, 0, username, 1e9, repeat('z', 500)::bytea FROM executions;
"""
FID = "f00000002"

HOT = {
    "events": (statements.EVENTS, [FID, 1_000, 1_000]),
    "events of kinds": (statements.EVENTS_OF_KINDS, [FID, 10, 100, ["result", "final"]]),
    "last event": (statements.LAST_EVENT, [FID, "final"]),
    "execution": (statements.RECORD, [FID]),
    "execution for an append": (statements.RECORD_LOCKED, [FID]),
    "first page": statements.page(None, "", None, None, 25),
    "first page of a user": statements.page("user-3", "", None, None, 25),
    "next page": statements.page("user-3", "", "f00002500", None, 25),
    "page after": statements.page(None, "", None, "f00004900", 25),
    "changes": statements.changes(FIRST + ROWS - 30, 1e12, None, "", 100),
    "changes of a user": statements.changes(FIRST + ROWS - 30, 1e12, "user-3", "", 100),
    "live": (statements.LIVE, []),
    "archived": (statements.ARCHIVED, [float(FIRST + 500)]),
    "left over": (statements.LEFT_OVER, [100]),
    "expired": (statements.EXPIRED, [float(FIRST + 100), 100]),
    "purge": (statements.PURGE, [[FID]]),
    "a launch": (statements.LAUNCH, [FID]),
    "drop a launch": (statements.DROP_LAUNCH, [FID]),
    "drop lost launches": (statements.DROP_LOST_LAUNCHES, [1e8]),
    "delete events": (statements.DELETE_EVENTS, [FID, 5_000]),
    "delete events of several": (statements.DELETE_EVENTS_OF, [[FID]]),
    "claim notices": (statements.CLAIM_NOTICES, [4, 20.0]),
    "settle a notice": (statements.SETTLE_NOTICE, [FID, 20]),
    "defer a notice": (statements.DEFER_NOTICE, [FID, 20, 1.0]),
    "an append": (
        statements.write(new=False, listed=False, details=True, events=True),
        [FID, 3, 21, "running", 1.0, None, 1.0, "[]", 1, 1, "{}", "", None, "", "", [21], [1.0], ["stdout"], ["x"]],
    ),
    "an append that notes": (
        statements.write(new=False, listed=False, details=False, events=False, notices=True),
        [FID, 3, 21, "running", 1.0, None, 1.0, "[]", 1, 1, [21], ["lock"]],
    ),
}


@pytest.fixture(scope="module")
def filled(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a database with some thousand executions, known to the planner."""
    name = postgres_server.create_database()
    with postgres_server.connected(name) as connection:
        connection.execute(FILL)
    postgres_server.execute("VACUUM ANALYZE", name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
async def connection(filled: str) -> AsyncIterator[postgres.Connection]:
    connection = await postgres.connect(filled, settings_name="X", connect_timeout_s=10, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", list(HOT))
async def test_a_hot_statement_reads_by_an_index(connection: postgres.Connection, name: str, mode: str) -> None:
    text, values = HOT[name]
    await connection.execute(f"SET plan_cache_mode = {mode}")
    async with connection.transaction():
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *values))[0]["Plan"]
    nodes = list(_nodes(plan))
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"execution_tally", "execution_details"}, plan
    assert not (scanned and name.startswith(("events", "first", "next", "changes", "execution"))), plan


async def test_pages_of_the_timeline_sort_nothing(connection: postgres.Connection) -> None:
    for name in ("events", "first page", "first page of a user", "next page", "last event"):
        text, values = HOT[name]
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *values))[0]["Plan"]
        assert not [node for node in _nodes(plan) if "Sort" in node["Node Type"]], plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)
