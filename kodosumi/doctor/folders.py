"""Folders: whether they can be written, and on what kind of disk they lie. Makes none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from .report import Finding, fine, warning, wrong

NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "gluster", "glusterfs", "lustre", "nfs", "nfs4", "smb2", "smb3"}
    | {"smbfs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.davfs"}
)
"""File systems whose locks SQLite can't rely on."""


def nearest(path: Path) -> Path:
    """The path itself, or the first of its parents that is there."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def writable(subject: str, folder: Path, variable: str) -> Finding:
    """Whether a folder can be written, or made.

    Args:
        subject: what it is for. folder: where. variable: what sets it.
    """
    there = nearest(folder)
    remedy = f"Give the user that runs kodosumi the right to write there, or name another folder by {variable}."
    if not there.is_dir():
        return wrong(subject, f"{there} is no folder", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        return wrong(subject, f"{there} cannot be written", remedy)
    return fine(
        subject, f"{folder}: writable" if there == folder.absolute() else f"{folder}: not there yet, can be made"
    )


def for_sqlite(subject: str, folder: Path, variable: str) -> Iterator[Finding]:
    """:func:`writable`, and whether it is on a disk of this machine, as SQLite needs it."""
    yield writable(subject, folder, variable)
    kind = kind_of_disk(nearest(folder))
    if kind in NETWORK:
        yield warning(
            subject,
            f"{folder} is on a network file system ({kind}), where SQLite's locks cannot be relied on",
            f"Name a folder on a local disk by {variable}, or use PostgreSQL (how-to *PostgreSQL*).",
        )


def kind_of_disk(path: Path) -> str:
    """The type of the file system that a path is on, as the system calls it; "" when it doesn't tell."""
    resolved = path.resolve()
    mounts = [(Path(part.mountpoint), part.fstype) for part in psutil.disk_partitions(all=True)]
    around = [(len(mount.parts), kind) for mount, kind in mounts if resolved.is_relative_to(mount)]
    return max(around, default=(0, ""))[1]
