"""The tables of ``index.db``. All of it can be made anew from the executions' files, so a new version just does that.

``execution`` is small and written with every append; ``detail`` is large and written when a run starts, changes its
state or ends. Executions that have ended are in the trigram index ``words``; the living ones are few and searched one
by one.
"""

from __future__ import annotations

VERSION = 2

NOTICES = (
    """CREATE TABLE IF NOT EXISTS notice (
        fid TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, due_at REAL NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0, tried_at REAL, PRIMARY KEY (fid, seq)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS notice_due ON notice (due_at)",
)
"""Younger than the rest of its version: it's added where it is absent, so that nothing need be made anew."""

ENDED = (
    # how many ever reached each terminal state; a removal takes none away
    "CREATE TABLE IF NOT EXISTS ended (state TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TRIGGER IF NOT EXISTS execution_came_ended AFTER INSERT ON execution
        WHEN NOT new.live AND NOT new.purged BEGIN
        INSERT INTO ended VALUES (new.state, 1) ON CONFLICT DO UPDATE SET runs = runs + 1; END""",
    """CREATE TRIGGER IF NOT EXISTS execution_ended AFTER UPDATE OF live ON execution
        WHEN old.live AND NOT new.live AND NOT new.purged BEGIN
        INSERT INTO ended VALUES (new.state, 1) ON CONFLICT DO UPDATE SET runs = runs + 1; END""",
    "INSERT INTO ended SELECT state, count(*) FROM execution WHERE NOT live AND NOT purged GROUP BY state",
)
"""Likewise younger; what had ended before is counted once, when it is added."""

SCHEMA = (
    """CREATE TABLE execution (
        id INTEGER PRIMARY KEY, fid TEXT NOT NULL UNIQUE, username TEXT NOT NULL, version INTEGER NOT NULL,
        seq INTEGER NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL, finished_at REAL,
        changed_at REAL NOT NULL, locks TEXT NOT NULL, archived INTEGER NOT NULL, modified_at REAL NOT NULL,
        live INTEGER NOT NULL, listed INTEGER NOT NULL, purged INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX execution_modified ON execution (modified_at)",
    "CREATE INDEX execution_user_modified ON execution (username, modified_at)",
    "CREATE INDEX execution_listed ON execution (fid) WHERE listed = 1",
    "CREATE INDEX execution_user_listed ON execution (username, fid) WHERE listed = 1",
    "CREATE INDEX execution_live ON execution (fid) WHERE live = 1",
    "CREATE INDEX execution_archived ON execution (modified_at) WHERE archived = 1",
    "CREATE INDEX execution_finished ON execution (finished_at) WHERE live = 0 AND purged = 0",
    """CREATE TABLE detail (
        id INTEGER PRIMARY KEY, version INTEGER NOT NULL, ended INTEGER NOT NULL, meta TEXT NOT NULL,
        search TEXT NOT NULL, error TEXT, inputs TEXT NOT NULL)""",
    """CREATE VIRTUAL TABLE words USING fts5(
        search, content = 'detail', content_rowid = 'id', tokenize = 'trigram', detail = 'full')""",
    """CREATE TRIGGER detail_inserted AFTER INSERT ON detail WHEN new.ended BEGIN
        INSERT INTO words (rowid, search) VALUES (new.id, new.search); END""",
    """CREATE TRIGGER detail_changed AFTER UPDATE ON detail WHEN old.ended AND old.search <> new.search BEGIN
        INSERT INTO words (words, rowid, search) VALUES ('delete', old.id, old.search);
        INSERT INTO words (rowid, search) VALUES (new.id, new.search); END""",
    """CREATE TRIGGER detail_ended AFTER UPDATE ON detail WHEN new.ended AND NOT old.ended BEGIN
        INSERT INTO words (rowid, search) VALUES (new.id, new.search); END""",
    """CREATE TRIGGER detail_deleted AFTER DELETE ON detail WHEN old.ended BEGIN
        INSERT INTO words (words, rowid, search) VALUES ('delete', old.id, old.search); END""",
    # how many are listed: per user, and under the empty name in all
    "CREATE TABLE tally (username TEXT PRIMARY KEY, listed INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TRIGGER execution_inserted AFTER INSERT ON execution WHEN new.listed BEGIN
        INSERT INTO tally VALUES ('', 1), (new.username, 1)
        ON CONFLICT DO UPDATE SET listed = listed + 1; END""",
    """CREATE TRIGGER execution_changed AFTER UPDATE OF listed ON execution WHEN new.listed <> old.listed BEGIN
        INSERT INTO tally VALUES ('', new.listed - old.listed), (new.username, new.listed - old.listed)
        ON CONFLICT DO UPDATE SET listed = listed + excluded.listed; END""",
    """CREATE TRIGGER execution_deleted AFTER DELETE ON execution WHEN old.listed BEGIN
        UPDATE tally SET listed = listed - 1 WHERE username IN ('', old.username); END""",
    # when the folder of a user was last compared with the index
    "CREATE TABLE folder (username TEXT PRIMARY KEY, mtime_ns INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE probe (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL)",
    *NOTICES,
    *ENDED,
    f"PRAGMA user_version = {VERSION}",
)

# Version 0 is a row without a committed event: its execution may come into being any moment, or never.
INSERT_NEW = """
    INSERT INTO execution (fid, username, version, seq, state, started_at, changed_at, locks, archived, modified_at,
        live, listed)
    VALUES (?, ?, 0, 0, 'starting', 0, 0, '[]', 0, ?, 1, 0) ON CONFLICT (fid) DO NOTHING"""

PUT_EXECUTION = """
    INSERT INTO execution (fid, username, version, seq, state, started_at, finished_at, changed_at, locks, archived,
        modified_at, live, listed)
    VALUES (:fid, :username, :version, :seq, :state, :started_at, :finished_at, :changed_at, :locks, :archived,
        :modified_at, :live, :listed)
    ON CONFLICT (fid) DO UPDATE SET version = :version, seq = :seq, state = :state, started_at = :started_at,
        finished_at = :finished_at, changed_at = :changed_at, locks = :locks, archived = :archived,
        modified_at = :modified_at, live = :live, listed = :listed
    WHERE purged = 0 AND (version < :version OR seq < :seq)"""

PUT_DETAIL = """
    INSERT INTO detail (id, version, ended, meta, search, error, inputs)
    SELECT id, :summary_version, :ended, :meta, :search, :error, :inputs FROM execution WHERE fid = :fid AND purged = 0
    ON CONFLICT (id) DO UPDATE SET version = :summary_version, ended = :ended, meta = :meta, search = :search,
        error = :error, inputs = :inputs
    WHERE version < :summary_version"""

LIVING = """
    SELECT CASE WHEN locks <> '[]' AND state <> 'paused' THEN 'awaiting' ELSE state END AS shown, count(*)
    FROM execution INDEXED BY execution_live WHERE live = 1 AND seq > 0 GROUP BY shown"""

INSERT_NOTICE = "INSERT OR IGNORE INTO notice (fid, seq, kind, due_at) VALUES (?, ?, ?, ?)"

DUE_NOTICES = "SELECT fid, seq, kind, tries, tried_at FROM notice WHERE due_at <= ? ORDER BY due_at LIMIT ?"

CLAIM_NOTICE = """
    UPDATE notice SET due_at = ?, tries = tries + 1, tried_at = coalesce(tried_at, ?) WHERE fid = ? AND seq = ?"""

COLUMNS = """execution.fid, username, state, seq, started_at, finished_at, changed_at,
    coalesce(meta, '{}'), coalesce(inputs, ''), error, locks, archived, modified_at"""

SOURCE = "execution LEFT JOIN detail ON detail.id = execution.id"
