"""Keys in the admin database: who may send a request on, for which execution, and what was answered.

All panel processes share them: the table's primary key decides who is first. A request on its way holds its key for
some seconds and says again and again that it is still there, so whoever comes after a panel's death goes on soon.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from ..database import AdminDatabase
from .table import IdempotencyKey

LIFETIME_S = 24 * 60 * 60.0
"""Seconds for which a key means the same execution."""

HOLD_S = 6.0
"""Seconds after which a request that doesn't say it is still on its way has lost its panel."""

TIDY_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that launched a run.

    Attributes:
        status: HTTP status. headers: names and values. body: None when it was too large to be kept.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What there is of a key.

    Attributes:
        fid: the execution it stands for.
        fingerprint: of an earlier request that was sent to its end; empty when none was.
        held: by the caller, who may send its request now, and settles, frees or releases the key afterwards.
        kept: the answer that launched the run. Neither held nor kept: somebody else's request is on its way.
    """

    fid: str
    fingerprint: str = ""
    held: bool = False
    kept: Kept | None = None


class Keys:
    """The keys as one request sees them.

    Args:
        database: shared by all panel processes.
        id: see :class:`~kodosumi.service.idempotency.table.IdempotencyKey`.
    """

    _tidy_at = 0.0

    def __init__(self, database: AdminDatabase, id: str) -> None:
        self._database = database
        self._id = id
        self._holder = uuid.uuid4().hex

    async def claim(self, fid: str) -> Claim:
        """Takes the key when nobody holds it; else tells what there is.

        Args:
            fid: the execution that a new key is to stand for.
        """
        now = time.time()
        await self._tidy(now)
        while True:
            async with self._database.session() as session:
                row = await session.get(IdempotencyKey, self._id)
            if row is None:
                if await self._insert(fid, now):
                    return Claim(fid, held=True)
                continue
            if row.expires_at <= now:
                await self._remove_expired(now)
                continue
            if row.status is not None:
                headers = [(str(name), str(value)) for name, value in json.loads(row.headers)]
                return Claim(row.fid, row.fingerprint, kept=Kept(row.status, headers, row.body))
            if row.held_until > now:
                return Claim(row.fid, row.fingerprint)
            if await self._take_over(row):
                return Claim(row.fid, row.fingerprint, held=True)

    async def hold(self) -> None:
        """Says that the request is still on its way."""
        await self._change(held_until=time.time() + HOLD_S)

    async def note(self, fingerprint: str) -> bool:
        """Notes what is being sent, before the last of it is; False: the key is not held any more."""
        return await self._change(fingerprint=fingerprint, held_until=time.time() + HOLD_S)

    async def settle(self, fid: str, kept: Kept) -> None:
        """Keeps the answer that launched ``fid``."""
        headers = json.dumps(kept.headers)
        await self._change(fid=fid, status=kept.status, headers=headers, body=kept.body, held_until=0.0)

    async def release(self) -> None:
        """Lets others try: nobody knows what became of the request."""
        await self._change(held_until=0.0)

    async def free(self) -> None:
        """Forgets the key: nothing was launched."""
        async with self._database.session() as session:
            mine = IdempotencyKey.id == self._id, IdempotencyKey.holder == self._holder
            await session.execute(delete(IdempotencyKey).where(*mine))

    async def _insert(self, fid: str, now: float) -> bool:
        values = {"id": self._id, "fid": fid, "holder": self._holder, "fingerprint": "", "headers": ""}
        times = {"held_until": now + HOLD_S, "expires_at": now + LIFETIME_S}
        try:
            async with self._database.session() as session:
                await session.execute(insert(IdempotencyKey).values(**values, **times))
        except IntegrityError:
            return False
        return True

    async def _take_over(self, row: IdempotencyKey) -> bool:
        found = IdempotencyKey.id == row.id, IdempotencyKey.holder == row.holder
        unheld = (*found, IdempotencyKey.held_until == row.held_until, IdempotencyKey.status.is_(None))
        mine = {"holder": self._holder, "held_until": time.time() + HOLD_S}
        async with self._database.session() as session:
            result = await session.execute(update(IdempotencyKey).where(*unheld).values(**mine))
            return bool(result.rowcount)  # type: ignore[attr-defined]

    async def _change(self, **values: object) -> bool:
        mine = IdempotencyKey.id == self._id, IdempotencyKey.holder == self._holder
        async with self._database.session() as session:
            result = await session.execute(update(IdempotencyKey).where(*mine).values(**values))
            return bool(result.rowcount)  # type: ignore[attr-defined]

    async def _tidy(self, now: float) -> None:
        """Removes expired keys in passing, now and then."""
        if now >= Keys._tidy_at:
            Keys._tidy_at = now + TIDY_EVERY_S
            await self._remove_expired(now)

    async def _remove_expired(self, now: float) -> None:
        async with self._database.session() as session:
            await session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at <= now))
