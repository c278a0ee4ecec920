"""After a server came back empty: what consumers remember tells producers whether anything of theirs is lost.

Whatever was acknowledged is safe in the store, and what a consumer holds will be. Consumers write what they know of
each execution beside where it was; a producer that finds its execution gone reads that. See ``recollection.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from ...events import Position
from ..recollection import NOWHERE, Trace

KEPT_MS = 60_000
"""How long the word of a consumer stands."""


class Verdict(StrEnum):
    """What became of what a producer had put."""

    KEPT = "kept"
    TAKEN = "taken"
    LOST = "lost"
    UNDECIDED = "undecided"


def told(consumer: str, trace: Trace) -> list[str]:
    """A consumer's word on one execution, as fields and values."""
    fields = ["by", consumer, "acked", _text(trace.acked), "held", _text(trace.held)]
    if trace.attempt:
        fields += ["attempt", str(trace.attempt)]
    for producer, (seq, position) in trace.producers.items():
        fields += [f"p:{producer}", f"{seq} {_text(position)}"]
    return fields


def verdict(
    heard: Mapping[str, str], producer: str, seq: int, past: Position | None, *, shared: bool, lives: bool, late: bool
) -> Verdict:
    """What became of a producer's batches.

    Args:
        heard: the word of a consumer, empty when there is none.
        producer: its id. seq: number of the batch it brings now. past: incarnation and place of its last accepted
            batch; None: never any.
        shared: others may have put later ones that this producer doesn't know of.
        lives: whether that consumer does. late: it was waited for long enough.
    """
    if past is not None and shared:
        return Verdict.LOST
    seq_text, _, place_text = heard.get(f"p:{producer}", "0 0 0").partition(" ")
    target = max(past or NOWHERE, _position(place_text))
    acked, held = _position(heard.get("acked", "0 0")), _position(heard.get("held", "0 0"))
    if target > NOWHERE and acked >= target:
        return Verdict.TAKEN if int(seq_text) >= seq else Verdict.KEPT
    if target == NOWHERE:
        return Verdict.KEPT if late or heard else Verdict.UNDECIDED
    if held >= target and lives:
        return Verdict.UNDECIDED
    return Verdict.LOST if late else Verdict.UNDECIDED


def heard_of(answer: Sequence[bytes]) -> dict[str, str]:
    """Fields by name, from what HGETALL answers."""
    words = [word.decode() for word in answer]
    return dict(zip(words[::2], words[1::2], strict=True))


def _text(position: Position) -> str:
    return f"{position.epoch} {position.offset}"


def _position(text: str) -> Position:
    epoch, _, offset = text.partition(" ")
    return Position(int(epoch), int(offset))
