"""Runs that wait for their turn: in order of arrival for one user, in turn between users."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A queue that serves users in turn, so that one user's hundred runs don't hold up another's first."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[Item]:
        """The items in the order in which they'd be served if nothing else arrived."""
        lines = [list(line) for line in self._lines.values()]
        for turn in range(max((len(line) for line in lines), default=0)):
            for line in lines:
                if turn < len(line):
                    yield line[turn]

    def add(self, user: str, item: Item) -> None:
        """Puts an item at the end of its user's line."""
        self._lines.setdefault(user, deque()).append(item)

    def put_back(self, user: str, item: Item) -> None:
        """Puts an item first again: it was taken, but couldn't be served."""
        self._lines.setdefault(user, deque()).appendleft(item)
        self._lines.move_to_end(user, last=False)

    def take(self, user: str, item: Item) -> None:
        """Removes an item because it is served; its user goes to the end of the turn."""
        self.remove(user, item)
        if user in self._lines:
            self._lines.move_to_end(user)

    def remove(self, user: str, item: Item) -> None:
        """Removes an item that needs no serving any more; an absent one is ignored."""
        line = self._lines.get(user)
        if line is None or item not in line:
            return
        line.remove(item)
        if not line:
            del self._lines[user]
