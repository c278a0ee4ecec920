"""Where a Ray cluster can be joined: what is named, else what runs on this machine.

Ray leaves the address of the cluster on this machine in a file, also after a crash, and tries for over a minute to
reach whatever it says. So a port is probed first.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from ..config import Settings, is_loopback

PROBE_TIMEOUT_S = 1.0
ADDRESS_FILE = "ray_current_cluster"
LOOPBACK = "[::ffff:127.0.0.1]"
"""127.0.0.1 in a form that Ray doesn't replace by the machine's outer address, where our own head isn't listening."""


def runs_here(settings: Settings) -> str | None:
    """Address of the cluster to join: the named one, else the one that runs on this machine, else None.

    A named cluster is returned whether it answers or not; one from Ray's address file only when it answers.
    Takes a second at most.
    """
    # RAY_ADDRESS is Ray's own variable, set in jobs and replicas; Ray's commands obey it, so we must too.
    named = settings.ray_server or os.environ.get("RAY_ADDRESS")
    if named and named != "auto":
        return joinable(named)
    found = read_address_file(None)
    return joinable(found) if found and answers(found) else None


def joinable(address: str) -> str:
    """The same address, in a form under which ``ray.init`` reaches a loopback cluster too."""
    host, port = split(address)
    return f"{LOOPBACK}:{port}" if port and is_loopback(host) else address


def is_own_address(host: str) -> bool:
    """Whether a host name or address is this machine's; False when it can't be resolved."""
    if host.removeprefix("::ffff:") == "127.0.0.1" or is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: int, address: Any) -> bool:
    # Only a machine's own addresses can be bound to.
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def answers(address: str) -> bool:
    """Whether something listens there; True for addresses of other forms (``ray://…``), which are left to Ray."""
    host, port = split(address)
    if not port:
        return True
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S) as probe:
            # Where nobody listens, a connection can get the very port it asks for and so reach itself.
            return bool(probe.getsockname() != probe.getpeername())
    except OSError:
        return False


def split(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``; port 0 when it has another form."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdigit():
        return address, 0
    return host.strip("[]"), int(port)


def address_file(temp_dir: Path | None) -> Path:
    """The file in which Ray looks for the cluster of this machine.

    Args:
        temp_dir: Ray's temporary folder; its default one when None.
    """
    if temp_dir is not None:
        return temp_dir / ADDRESS_FILE
    folder = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None)
    return Path(folder or "/tmp") / "ray" / ADDRESS_FILE  # noqa: S108 - where Ray looks


def read_address_file(temp_dir: Path | None) -> str | None:
    """What the address file says, or None when it's missing or empty."""
    try:
        return address_file(temp_dir).read_text().strip() or None
    except OSError:
        return None
