"""Acknowledges what is stored: it is trimmed, waiting producers are let in, and followers are told."""

from __future__ import annotations

from collections.abc import Sequence

from ...events import Position
from .claiming import Claims
from .connection import Connection
from .names import Names
from .recovery import Witness
from .scripts import ACK, PUBLISH
from .share import Share

AT_ONCE = 200
"""Executions one script acknowledges."""

TOMBSTONE_MS, IDLE_MS = 3_600_000, 86_400_000
"""How long an ended execution is remembered, so that nothing is put after its end, and one that goes on after that."""

NO_TOKEN = "-"

Place = tuple[str, Position]


class Settler:
    """Tells Redis what is stored of a share, and forgets it here."""

    def __init__(self, connection: Connection, names: Names, share: Share, claims: Claims, witness: Witness) -> None:
        self._connection, self._names, self._share = connection, names, share
        self._claims, self._witness = claims, witness

    async def settle(self, positions: Sequence[Place]) -> None:
        """Acknowledges each execution up to its position.

        Raises:
            RedisUnavailable: no answer for a while; some may be acknowledged.
        """
        for start in range(0, len(positions), AT_ONCE):
            await self._settle(positions[start : start + AT_ONCE])

    async def _settle(self, places: Sequence[Place]) -> None:
        keys = [self._keys(fid) for fid, _ in places]
        asked = [self._question(fid, position) for fid, position in places]
        in_cluster = self._connection.in_cluster
        words = (self._names.base, int(not in_cluster), self._names.group, self._share.id, TOMBSTONE_MS, IDLE_MS)
        answers = await self._connection.for_each(ACK, keys, words, asked, persist=True)
        for place, question, answer in zip(places, asked, answers, strict=True):
            await self._conclude(place, str(question[1]), answer)
        if in_cluster and places:
            # There no script sees the executions' keys and the consumers' at once.
            over = [fid for (fid, _), answer in zip(places, answers, strict=True) if answer == b"over"]
            told = (" ".join(over), " ".join(fid for fid, _ in places))
            consumers = [self._names.consumers]
            await self._connection.persistently(PUBLISH, consumers, self._names.base, self._share.id, *told)

    def _keys(self, fid: str) -> tuple[str, ...]:
        names = self._names
        bytes_key = names.bytes(fid, in_cluster=self._connection.in_cluster)
        return names.stream(fid), names.state(fid), names.producers(fid), names.closed(fid), bytes_key

    def _question(self, fid: str, position: Position) -> tuple[str | int, ...]:
        """What the script is asked for one: under a token that nobody has, when there is nothing to acknowledge."""
        holding = self._share.held.get(fid)
        entry = holding.up_to(position) if holding else None
        token = holding.token if holding and entry else NO_TOKEN
        place, size = (entry.position, entry.size) if entry else (position, 0)
        since = holding.after(position).epoch if holding else 0
        return fid, token, place.epoch, place.offset, size, since, self._names.room(fid)

    async def _conclude(self, place: Place, token: str, answer: bytes) -> None:
        fid, position = place
        holding = self._share.held.get(fid)
        if answer == b"over":
            self._witness.forget(fid)
            self._share.drop(fid)
        elif holding is not None and holding.token == token:
            if answer != b"ok":
                await self._claims.lose(holding, gone=answer == b"gone")
                return
            holding.forget(position)
            if holding.leaves_until and not holding.given:
                await self._claims.give_away([fid])
        elif answer == b"gone":
            await self._witness.tell_late(self._share.id, fid)
