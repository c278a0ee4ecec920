"""All that one consumer was assigned: granted and not yet claimed, held, and what of it wants something done.

It is the state that the consumer's parts share; nothing here talks to Redis.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict, deque

from ..base import Delivery
from .holding import Holding


class Share:
    """What a consumer is responsible for now; used from one event loop.

    Attributes:
        id: the consumer's name for itself; another one after it was given up.
        grants: executions assigned and not yet claimed, each with its grant.
        held: executions claimed.
        ready: those of them with something to read or to give, whose turn comes first first.
        orphans: read before the server lost its memory; nobody else has it, and no execution here holds it.
        uneven: another consumer has joined, so this one may have more than its due.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.grants: dict[str, str] = {}
        self.held: dict[str, Holding] = {}
        self.ready: OrderedDict[str, None] = OrderedDict()
        self.orphans: deque[Delivery] = deque()
        self.uneven = False

    def holds(self, fid: str, token: str) -> bool:
        """Whether an execution is held under this grant."""
        return fid in self.held and self.held[fid].token == token

    def add(self, holding: Holding) -> None:
        """Takes an execution in; it is looked at soon."""
        self.held[holding.fid] = holding
        self.ready[holding.fid] = None

    def rouse(self, fid: str) -> None:
        """Something may have come for an execution; one that isn't held is ignored."""
        if fid in self.held:
            self.held[fid].more = True
            self.ready[fid] = None

    def rouse_all(self) -> None:
        """Something may have come for each."""
        for fid in self.held:
            self.rouse(fid)

    def drop(self, fid: str) -> None:
        """Forgets an execution, if it's known."""
        self.held.pop(fid, None)
        self.ready.pop(fid, None)
        self.grants.pop(fid, None)

    def clear(self) -> None:
        """Forgets every execution; orphans stay."""
        self.held.clear()
        self.ready.clear()
        self.grants.clear()

    def begin_again(self) -> None:
        """Forgets every execution and goes by another name."""
        self.clear()
        self.id = uuid.uuid4().hex
