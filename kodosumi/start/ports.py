"""Who listens where: a start that can't have its ports says which one is taken and by what."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
"""State of a listening socket in ``/proc/net/tcp``."""


def port_taken(host: str, port: int) -> bool:
    """Whether something listens on a TCP port of this machine, so that it can't be bound."""
    for family, _, _, _, address in _addresses(host, port):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    return True
    return False


def owner_of(port: int) -> str | None:
    """The process that listens on a port, as ``"koco (pid 4711)"``; None where the system doesn't tell (Linux does)."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    for process in PROC.iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            return f"{_name_of(process)} (pid {process.name})"
    return None


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, int, int, str, tuple[str, int]]]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # type: ignore[return-value]
    except OSError:
        return []


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _holds(process: Path, inodes: set[str]) -> bool:
    # Processes end while they are looked at, and those of other users can't be looked into.
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return True
    return False


def _name_of(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "a process"
    # Only the program and its first word: arguments may hold what doesn't belong on a terminal.
    names = [Path(word).name for word in words[:2] if word and not word.startswith("-")]
    return " ".join(names) or "a process"
