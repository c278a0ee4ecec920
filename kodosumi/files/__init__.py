"""The files of runs: a family of stores (``base.py``), and names from outside made safe (``paths.py``)."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from ..config import Settings
from ..error import ConfigurationError
from .base import MARK, ROOTS, FileInfo, FileStore, FileStream
from .paths import checked

FILE_STORES = {
    "local": "kodosumi.files.local:LocalFileStore",
    "s3": "kodosumi.files.s3:S3FileStore",
    "memory": "kodosumi.files.memory:MemoryFileStore",
}
"""Scheme of ``KODO_FILE_STORE`` (unset: local) -> class, imported when chosen."""

__all__ = [
    "FILE_STORES",
    "MARK",
    "ROOTS",
    "FileInfo",
    "FileStore",
    "FileStream",
    "checked",
    "connect_files",
    "connect_uploads",
]


class _Member(Protocol):
    """What a class of the table offers."""

    def from_settings(self, settings: Settings) -> FileStore: ...

    def uploads_from_settings(self, settings: Settings) -> FileStore: ...


def connect_files(settings: Settings) -> FileStore:
    """The store of runs' files that ``KODO_FILE_STORE`` chooses; keys are ``<role id>/<fid>/in/…`` and ``…/out/…``.

    Raises:
        ConfigurationError: an unknown scheme (lists the choices) or a missing extra (names it).
    """
    return _member(settings).from_settings(settings)


def connect_uploads(settings: Settings) -> FileStore:
    """The store of uploads in progress that goes with it; keys are ``<role id>/<upload id>/…``.

    Raises:
        ConfigurationError: as for :func:`connect_files`.
    """
    return _member(settings).uploads_from_settings(settings)


def _member(settings: Settings) -> _Member:
    name = (settings.file_store or "local").partition(":")[0]
    try:
        module, _, attribute = FILE_STORES[name].partition(":")
    except KeyError:
        choices = ", ".join(FILE_STORES)
        raise ConfigurationError(f"KODO_FILE_STORE: unknown scheme {name!r}; choose one of {choices}") from None
    member: _Member = getattr(import_module(module), attribute)
    return member
