"""What durable runs are started with, in parts: no row, no statement and no buffer grows with it."""

from __future__ import annotations

from ...postgres import Connection
from . import statements
from .pool import Pool

PART_BYTES = 4 * 1024 * 1024


async def keep(pool: Pool, fid: str, username: str, launch: bytes) -> None:
    """Keeps a launch unless one of this id is kept already; all of its parts or none."""

    async def job(connection: Connection) -> None:
        for part, start in enumerate(range(0, max(len(launch), 1), PART_BYTES)):
            piece = launch[start : start + PART_BYTES]
            kept = await connection.fetchval(statements.KEEP_LAUNCH, fid, part, username, piece)
            if kept is None:
                # The first call counts, whoever made it: its other parts are there, or there are none.
                return

    await pool.run(job, transaction=True)
