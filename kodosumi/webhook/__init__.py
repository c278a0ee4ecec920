"""The webhook: an address outside that is told of new locks and ended runs, so that mail or chat can be told.

The store notes what is to be told in the transaction of the event; a spooler's sender posts it, signed, until the
receiver has it. Nothing here stores events, and nothing here is there when ``KODO_WEBHOOK_URL`` is unset.
"""

from __future__ import annotations

from .sender import Sender
from .target import Target, connect_sender, target_of

__all__ = ["Sender", "Target", "connect_sender", "target_of"]
