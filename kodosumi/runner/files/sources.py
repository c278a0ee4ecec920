"""What an author gives to ``upload``: files and folders of this machine, and the names they get. All of it blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ...error import BadPath
from ...files.paths import checked
from .access import Source


def sources_of(paths: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """The files to upload: a file under its own name, a folder's files under their paths in it.

    Links to files are files, links to folders inside of a folder aren't followed, and what is neither file nor folder
    is left out.

    Raises:
        FileNotFoundError: one of the paths isn't there. BadPath: a name that no store takes, two of the same, or one
            that is a file and a folder.
    """
    found: dict[str, Source] = {}
    for path in paths:
        for source in _below(Path(path)):
            if (other := found.setdefault(source.name, source)) is not source:
                raise BadPath(f"{other.path} and {source.path} cannot both become out/{source.name}.")
    for name, source in found.items():
        for above in PurePosixPath(name).parents:
            if (file := found.get(str(above))) is not None:
                raise BadPath(f"{file.path} becomes out/{above}, which is a folder of {source.path}.")
    return list(found.values())


def _below(path: Path) -> Iterator[Source]:
    if not path.is_dir():
        name = path.name or path.resolve().name
        yield from _source(path, name, path.stat())
        return
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.exists():  # else a link to nowhere, or removed meanwhile
                yield from _source(file, file.relative_to(path).as_posix(), file.stat())


def _source(path: Path, name: str, found: os.stat_result) -> Iterator[Source]:
    if stat.S_ISREG(found.st_mode):
        yield Source(checked(name), path, found.st_size)


def _raise(error: OSError) -> None:
    raise error
