"""What a consumer holds of one execution: read and not yet given, given and not yet acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...events import Batch, Position
from ..consumer import events_of


class Entry(NamedTuple):
    """One entry of a stream: a batch as it was put.

    Attributes:
        position: its id. events: how many are in it. wire: them, encoded.
        producer: who put it. seq: that producer's number for it. size: bytes of its execution up to it.
        attempt: that the producer speaks for, 0: none.
    """

    position: Position
    events: int
    wire: bytes
    producer: str
    seq: int
    size: int
    attempt: int = 0


@dataclass(slots=True, eq=False)
class Holding:
    """One execution in a consumer's hands.

    Attributes:
        token: the grant it's read by. epoch: its incarnation.
        last: where the last entry read lies; (0, offset) before the first.
        read: entries to be given. given: entries to be acknowledged.
        more: there may be something to read.
        leaves_until: the loop's clock; until then nothing of it is given, so that it can go to another consumer.
        stays_until: the loop's clock; until then it isn't tried again.
    """

    fid: str
    username: str
    token: str
    epoch: int
    last: Position
    read: deque[Entry] = field(default_factory=deque)
    given: deque[Entry] = field(default_factory=deque)
    more: bool = True
    leaves_until: float = 0.0
    stays_until: float = 0.0

    def take_in(self, entries: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Entry]:
        """Takes in what was read, as the script answers it."""
        found = []
        for id_, fields in entries:
            position = position_of(id_)
            values = dict(zip(fields[::2], fields[1::2], strict=True))
            entry = Entry(
                position,
                position.offset - self.last.offset,
                values[b"e"],
                values[b"p"].decode(),
                int(values[b"s"]),
                int(values[b"b"]),
                int(values.get(b"a", 0)),
            )
            found.append(entry)
            self.last = position
        self.read.extend(found)
        return found

    def give(self) -> Batch:
        """The next batch."""
        entry = self.read.popleft()
        self.given.append(entry)
        return Batch(entry.position, events_of(self.fid, entry.wire))

    def up_to(self, position: Position) -> Entry | None:
        """The last given entry at or below a position."""
        found = None
        for entry in self.given:
            if entry.position > position:
                break
            found = entry
        return found

    def after(self, position: Position) -> Position:
        """Where the first entry behind a position lies, as far as anything of it is known."""
        for entries in (self.given, self.read):
            for entry in entries:
                if entry.position > position:
                    return entry.position
        return position

    def forget(self, position: Position) -> None:
        """Drops what is acknowledged."""
        while self.given and self.given[0].position <= position:
            self.given.popleft()


def position_of(id_: bytes) -> Position:
    """An entry's place: its id's milliseconds, and its number in its execution."""
    ms, _, offset = id_.partition(b"-")
    return Position(int(ms), int(offset))
