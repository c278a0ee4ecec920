"""Stands for somebody else's paid service: it charges once for each idempotency key, and now and then it is busy."""

import asyncio
import json
import tempfile
from pathlib import Path

BOOK = Path(tempfile.gettempdir()) / "kodosumi-paid-service"
"""Its orders, one file for each key. The real one is elsewhere, so it survives whatever happens to a run."""


class Busy(Exception):
    """It has no time just now: asking again later is right."""


async def order(what: str, seconds: float, key: str) -> dict:
    """Orders a piece of work; the same key gives the same order, and is charged once."""
    BOOK.mkdir(exist_ok=True)
    entry = BOOK / f"{key}.json"
    if entry.exists():
        return {**json.loads(entry.read_text()), "charged": False}
    await asyncio.sleep(seconds)
    ordered = {"work": what, "price": 20}
    entry.write_text(json.dumps(ordered))
    return {**ordered, "charged": True}
