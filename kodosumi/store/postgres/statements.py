"""What the store says to PostgreSQL. Texts are made of our own words alone; whatever comes from others is a parameter.

A write is one statement with everything in it, so that it costs one round trip and is one transaction by itself.
"""

# ruff: noqa: S608 (no text of others gets into these)
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from ...events import ExecutionState

PROGRESS = ("seq", "state", "started_at", "finished_at", "changed_at", "locks", "epoch", '"offset"')
DETAILS = ("meta", "inputs", "error", "final", "search")
EVENT_COLUMNS = ("seq", "timestamp", "kind", "message", "fid", "username")

_NOW = "extract(epoch FROM clock_timestamp())::float8"
_LATER = f"greatest({_NOW}, modified_at + 0.000001)"
"""The clock at this write, and later than at the row's last one."""

_COLUMNS = """e.fid, e.username, e.version, e.seq, e.state, e.started_at, e.finished_at, e.changed_at, e.modified_at,
    e.locks, e.archived, e.purged, e.epoch, e."offset", d.meta, d.inputs, d.error, d.final"""
_SOURCE = "executions e LEFT JOIN execution_details d ON d.fid = e.fid"
_SELECT = f"SELECT {_COLUMNS} FROM {_SOURCE}"


class Query(NamedTuple):
    """A statement with its parameters."""

    text: str
    values: list[object]


# writing -----------------------------------------------------------------------------------------------------------


@functools.cache
def write(
    *, new: bool, listed: bool, details: bool, events: bool, notices: bool = False, ended: ExecutionState | None = None
) -> str:
    """One append; gives how many executions were written: 0 when another process was first.

    Parameters: ``fid``; the owner when it is new, else the version it must have; ``PROGRESS``; then ``DETAILS``, the
    columns of the events, places and kinds of notices, each when asked for.

    Args:
        new: the execution has no row yet. listed: it is in the lists from now on.
        details: write the large row. events: store events given as arrays. notices: note some of the events.
        ended: the terminal state that it reaches with this, None when it reaches none.
    """
    progress = _marks(3, PROGRESS)
    first = 3 + len(PROGRESS)
    parts = [_begun(progress) if new else _moved(progress)]
    if details:
        parts.append(_told(first))
        first += len(DETAILS)
    if events:
        parts.append(
            f"""kept AS (INSERT INTO execution_events ({", ".join(EVENT_COLUMNS)})
            SELECT given.*, moved.fid, moved.username FROM moved, unnest(
            ${first}::bigint[], ${first + 1}::float8[], ${first + 2}::text[], ${first + 3}::text[]) AS given)"""
        )
        first += 4
    if notices:
        parts.append(
            f"""noted AS (INSERT INTO execution_notices (fid, seq, kind, due_at)
            SELECT moved.fid, given.*, {_NOW} FROM moved, unnest(${first}::bigint[], ${first + 1}::text[]) AS given)"""
        )
    if listed:
        parts.append("counted AS (INSERT INTO execution_tally (username, listed) SELECT username, 1 FROM moved)")
    if ended is not None:
        parts.append(f"summed AS (INSERT INTO execution_ended (state, runs) SELECT '{ended.value}', 1 FROM moved)")
    return f"WITH {', '.join(parts)} SELECT count(*) FROM moved"


def _begun(progress: str) -> str:
    return f"""moved AS (INSERT INTO executions (fid, username, version, modified_at, {", ".join(PROGRESS)})
        VALUES ($1, $2, 1, {_NOW}, {progress}) ON CONFLICT (fid) DO NOTHING RETURNING fid, username)"""


def _moved(progress: str) -> str:
    return f"""moved AS (UPDATE executions SET version = version + 1, modified_at = {_LATER},
        ({", ".join(PROGRESS)}) = ROW({progress}) WHERE fid = $1 AND version = $2 AND NOT purged
        RETURNING fid, username)"""


def _told(first: int) -> str:
    given = ", ".join(f"${number}::text" for number in range(first, first + len(DETAILS)))
    again = ", ".join(f"{name} = excluded.{name}" for name in DETAILS)
    return f"""told AS (INSERT INTO execution_details (fid, {", ".join(DETAILS)}) SELECT fid, {given} FROM moved
        ON CONFLICT (fid) DO UPDATE SET {again})"""


def _marks(first: int, columns: Sequence[str]) -> str:
    return ", ".join(f"${number}" for number in range(first, first + len(columns)))


ARCHIVE = f"""
    WITH hidden AS (UPDATE executions SET archived = true, version = version + 1, modified_at = {_LATER}
        WHERE fid = $1 AND NOT archived AND NOT purged AND seq > 0 RETURNING username)
    INSERT INTO execution_tally (username, listed) SELECT username, -1 FROM hidden"""

PROBE = (
    "INSERT INTO execution_tally (username, listed) VALUES ('', 0)",
    "DELETE FROM execution_tally WHERE listed = 0",
)

COMPACT = """
    WITH gone AS (DELETE FROM execution_tally WHERE id IN (
        SELECT id FROM execution_tally ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED) RETURNING username, listed)
    INSERT INTO execution_tally (username, listed)
    SELECT username, sum(listed) FROM gone GROUP BY username HAVING sum(listed) <> 0"""
"""Adds up what was counted; whoever counts at the same moment sees all of the old rows or all of the new ones."""

COMPACT_ENDED = """
    WITH gone AS (DELETE FROM execution_ended WHERE id IN (
        SELECT id FROM execution_ended ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED) RETURNING state, runs)
    INSERT INTO execution_ended (state, runs) SELECT state, sum(runs) FROM gone GROUP BY state"""

# removing ----------------------------------------------------------------------------------------------------------

STATE = "SELECT state, purged, seq FROM executions WHERE fid = $1"

LAST_KEPT_OF_PURGED = "SELECT seq FROM executions WHERE fid = $1 AND purged"

PURGE = f"""
    WITH chosen AS (SELECT fid, archived FROM executions
        WHERE fid = ANY($1::text[]) AND NOT purged AND finished_at IS NOT NULL FOR UPDATE),
    gone AS (UPDATE executions e SET purged = true, archived = true, version = e.version + 1, locks = '[]',
        modified_at = greatest({_NOW}, e.modified_at + 0.000001)
        FROM chosen WHERE e.fid = chosen.fid
        RETURNING e.fid, e.username, e.seq, NOT chosen.archived AND e.seq > 0 AS listed),
    untold AS (DELETE FROM execution_details WHERE fid IN (SELECT fid FROM gone)),
    unnoted AS (DELETE FROM execution_notices WHERE fid IN (SELECT fid FROM gone)),
    unlaunched AS (DELETE FROM execution_launches WHERE fid IN (SELECT fid FROM gone)),
    counted AS (INSERT INTO execution_tally (username, listed)
        SELECT username, -count(*) FROM gone WHERE listed GROUP BY username)
    SELECT fid, seq FROM gone"""
"""Marks as removed. Their events are deleted afterwards, in small steps; ``seq`` says that some are left."""

EXPIRED = """
    SELECT username, fid FROM executions WHERE finished_at < $1 AND NOT purged ORDER BY finished_at LIMIT $2
    FOR UPDATE SKIP LOCKED"""

ALONE = "SELECT pg_try_advisory_xact_lock(hashtext('kodosumi expire'))"
"""Whether no other process is removing executions; holds until the transaction ends, also behind a pooler."""

LEFT_OVER = """
    SELECT fid, seq FROM executions WHERE archived AND purged AND seq > 0 ORDER BY modified_at LIMIT $1"""

DELETE_EVENTS = """
    DELETE FROM execution_events WHERE fid = $1 AND seq IN (
        SELECT seq FROM execution_events WHERE fid = $1 ORDER BY seq LIMIT $2)"""

DELETE_EVENTS_OF = "DELETE FROM execution_events WHERE fid = ANY($1::text[])"

EMPTIED = "UPDATE executions SET seq = 0 WHERE fid = ANY($1::text[]) AND purged"

FORGET = f"""
    DELETE FROM executions WHERE fid IN (SELECT fid FROM executions
        WHERE archived AND purged AND seq = 0 AND modified_at < {_NOW} - $1::float8
        LIMIT 1000 FOR UPDATE SKIP LOCKED)"""

# launches of durable runs -------------------------------------------------------------------------------------------

KEEP_LAUNCH = f"""
    INSERT INTO execution_launches (fid, part, username, kept_at, launch) VALUES ($1, $2, $3, {_NOW}, $4)
    ON CONFLICT (fid, part) DO NOTHING RETURNING part"""
"""Nothing is returned when somebody else's is kept already; while that isn't sure, this waits."""

LAUNCH = "SELECT launch FROM execution_launches WHERE fid = $1 ORDER BY part"

DROP_LAUNCH = "DELETE FROM execution_launches WHERE fid = $1"

DROP_LOST_LAUNCHES = """
    WITH lost AS (DELETE FROM execution_launches l WHERE kept_at < $1 AND NOT EXISTS (
        SELECT 1 FROM executions e WHERE e.fid = l.fid AND NOT e.purged AND e.seq > 0) RETURNING part)
    SELECT count(*) FROM lost WHERE part = 0"""

# noticing ----------------------------------------------------------------------------------------------------------

CLAIM_NOTICES = f"""
    WITH due AS (SELECT fid, seq FROM execution_notices WHERE due_at <= {_NOW} ORDER BY due_at LIMIT $1
        FOR UPDATE SKIP LOCKED)
    UPDATE execution_notices n SET due_at = {_NOW} + $2::float8, tries = n.tries + 1,
        tried_at = coalesce(n.tried_at, {_NOW})
    FROM due WHERE n.fid = due.fid AND n.seq = due.seq
    RETURNING n.fid, n.seq, n.kind, n.tries, greatest(0, {_NOW} - n.tried_at) AS trying_s"""

SETTLE_NOTICE = "DELETE FROM execution_notices WHERE fid = $1 AND seq = $2"

DEFER_NOTICE = f"UPDATE execution_notices SET due_at = {_NOW} + $3::float8 WHERE fid = $1 AND seq = $2"

WAITING_NOTICES = "SELECT count(*) FROM execution_notices"

# reading -----------------------------------------------------------------------------------------------------------

_KNOWN = "EXISTS (SELECT 1 FROM executions WHERE fid = $1 AND NOT purged AND seq > 0)"

KNOWN = f"SELECT {_KNOWN}"

RECORD = f"{_SELECT} WHERE e.fid = $1"

RECORD_LOCKED = f"{RECORD} FOR UPDATE OF e"

EVENTS = f"""
    SELECT seq, kind, timestamp, message FROM execution_events
    WHERE fid = $1 AND seq > $2 AND {_KNOWN} ORDER BY seq LIMIT $3"""

EVENTS_OF_KINDS = f"""
    SELECT found.seq, found.kind, found.timestamp, found.message FROM unnest($4::text[]) AS wanted(kind)
    CROSS JOIN LATERAL (
        SELECT seq, v.kind, timestamp, message FROM execution_events v
        WHERE fid = $1 AND v.kind = wanted.kind AND seq > $2 ORDER BY seq LIMIT $3) AS found
    WHERE {_KNOWN} ORDER BY found.seq LIMIT $3"""
"""Each kind by itself from the index: a rare one among a million others is found at once."""

LAST_EVENT = f"""
    SELECT seq, kind, timestamp, message FROM execution_events
    WHERE fid = $1 AND kind = $2 AND {_KNOWN} ORDER BY seq DESC LIMIT 1"""

COUNT = "SELECT coalesce(sum(listed), 0)::bigint FROM execution_tally"

COUNT_OF_USER = f"{COUNT} WHERE username = $1"

LIVING = """
    SELECT CASE WHEN locks <> '[]' AND state <> 'paused' THEN 'awaiting' ELSE state END AS shown, count(*)
    FROM executions WHERE finished_at IS NULL AND NOT purged AND seq > 0 GROUP BY shown"""

ENDED = "SELECT state, sum(runs)::bigint FROM execution_ended GROUP BY state"

LIVE = f"{_SELECT} WHERE e.finished_at IS NULL AND NOT e.purged AND e.seq > 0 ORDER BY e.fid"

ARCHIVED = f"""{_SELECT}
    WHERE e.archived AND NOT e.purged AND e.seq > 0 AND e.modified_at < $1 ORDER BY e.modified_at"""

HORIZON = """
    SELECT extract(epoch FROM least(statement_timestamp(), min(CASE
        WHEN a.pid IS NULL THEN NULL
        WHEN a.state IS NULL OR a.state = 'disabled' THEN statement_timestamp() - $1 * interval '1 second'
        ELSE a.xact_start END)))::float8
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'RowExclusiveLock'
        AND l.relation = 'executions'::regclass
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
"""Before which moment no change can appear any more: now, or when the oldest transaction that writes began.

A row says when it was written, but is seen when its transaction ends; a cursor that went past it in between would miss
it. The clock is read before the locks, and both before the snapshot that reads the rows. Of a transaction whose begin
we may not see (another role's) it's assumed that it began the given seconds ago."""


def page(username: str | None, query: str, before: str | None, after: str | None, limit: int) -> Query:
    """Listed executions, newest first; see the store's contract."""
    given = Query("NOT e.archived AND e.seq > 0", [])
    if username is not None:
        given = _and(given, "e.username = {}", username)
    if before is not None:
        given = _and(given, "e.fid < {}", before)
    if after is not None:
        given = _and(given, "e.fid > {}", after)
    if query:
        given = _and(given, "d.search LIKE {}", containing(query))
    given.values.append(limit)
    return Query(f"{_SELECT} WHERE {given.text} ORDER BY e.fid DESC LIMIT ${len(given.values)}", given.values)


def changes(since: float, horizon: float, username: str | None, query: str, limit: int) -> Query:
    """Executions changed behind ``since`` and before the horizon, oldest first; one moment is never torn in two."""
    given = Query("e.modified_at > $1 AND e.modified_at < $2 AND (e.seq > 0 OR e.purged)", [since, horizon])
    if username is not None:
        given = _and(given, "e.username = {}", username)
    if query:
        given = _and(given, "(e.archived OR d.search LIKE {})", containing(query))
    given.values.append(limit)
    last = f"ORDER BY e.modified_at FETCH FIRST ${len(given.values)} ROWS WITH TIES"
    return Query(f"{_SELECT} WHERE {given.text} {last}", given.values)


def containing(query: str) -> str:
    """The pattern of LIKE for texts that contain this one, whatever is in it."""
    for special in ("\\", "%", "_"):
        query = query.replace(special, f"\\{special}")
    return f"%{query}%"


def _and(given: Query, condition: str, value: object) -> Query:
    values = [*given.values, value]
    return Query(f"{given.text} AND {condition.format(f'${len(values)}')}", values)
