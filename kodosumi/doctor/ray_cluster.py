"""The Ray cluster: there, and of the same versions as this environment. It's asked without being joined."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from importlib.util import find_spec

from .. import cluster
from ..cluster.finding import answers
from ..cluster.versions import versions
from ..config import Settings
from ..error import ClusterError
from .report import Finding, fine, warning, wrong


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the cluster that would be joined answers, and may be joined from here."""
    if find_spec("ray") is None:
        return
    address = await asyncio.to_thread(cluster.runs_here, settings)
    if address is None:
        remedy = (
            "`koco start` starts one. For a panel or spooler on its own, run `ray start --head` or set KODO_RAY_SERVER."
        )
        yield warning("cluster", "none runs on this machine", remedy)
        return
    remedy = "Start Ray there (`ray start --head`), or correct KODO_RAY_SERVER."
    if not await asyncio.to_thread(answers, address):
        yield wrong("cluster", f"nothing listens at {address}", remedy)
        return
    try:
        theirs = await asyncio.to_thread(versions, address)
    except ClusterError as exc:
        yield wrong("cluster", str(exc), remedy)
        return
    if theirs is None:
        remedy = "Set KODO_RAY_SERVER to HOST:PORT of the head (port 6379 by default) to have its versions compared."
        yield warning("cluster", f"{address} cannot be asked without joining it", remedy)
        return
    yield fine("cluster", f"{address} answers")
    for finding in compared(theirs, (version("ray"), platform.python_version())):
        yield finding


def compared(theirs: tuple[str, str], ours: tuple[str, str]) -> Iterator[Finding]:
    """Whether versions of a cluster and of this environment are equal, as Ray demands.

    Args:
        theirs: of Ray and of Python. ours: likewise.
    """
    for name, there, here in zip(("Ray", "Python"), theirs, ours, strict=True):
        subject = f"{name} there"
        if there == here:
            yield fine(subject, f"{there}, as here")
        else:
            remedy = (
                f"Install {name} {there} here, or {name} {here} on every node; `koco` and the cluster need the same."
            )
            yield wrong(subject, f"{there}, here {here}", remedy)
