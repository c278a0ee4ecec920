"""The Lua scripts: each does in one step, on the server, what must not be done by halves."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent / "lua"


class Script:
    """One script and the name the server knows it by.

    Args:
        name: of its file; what is in ``shared.lua`` comes first.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = (_FOLDER / "shared.lua").read_bytes() + (_FOLDER / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


PUT = Script("put")
RING = Script("ring")
BEAT = Script("beat")
LEAVE = Script("leave")
UNHOLD = Script("unhold")
CLAIM = Script("claim")
READ = Script("read")
ACK = Script("ack")
PUBLISH = Script("publish")
RELEASE = Script("release")
SURVEY = Script("survey")
FIGURES = Script("figures")
RECALL = Script("recall")
