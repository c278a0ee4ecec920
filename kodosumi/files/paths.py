"""Names from outside made safe: what a file name must look like before it becomes a part of a key.

Text is taken as it comes: nothing is decoded here, so ``%2e%2e`` is an odd name and no way up. Whoever takes names
out of a URL decodes them once, and then asks :func:`checked`.
"""

from __future__ import annotations

import re
import unicodedata

from ..error import BadPath
from .base import OWN_PREFIXES

MAX_CHARACTERS = 4_000
MAX_PART_BYTES = 255
"""What every usual file system takes as the name of one file."""

MAX_DEPTH = 100
"""Folders in folders; what removes them holds a descriptor for each."""

_SHOWN = 60
_ORDINARY = re.compile(r"[A-Za-z0-9_(-](?:[A-Za-z0-9_ ().,+=@-]{0,120}[A-Za-z0-9_)-])?")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9]) *(?:\..*)?", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")
_LIKE_SLASHES = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9")
"""What some systems turn into a slash or backslash, though Unicode's compatibility forms don't."""

_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make ``gpj.exe`` look like ``exe.jpg``."""

_NOT_IN_NAMES = {"Cc": "a control character", "Zl": "a line break", "Zp": "a line break", "Cs": "half a character"}


def checked(path: str, what: str = "file name") -> str:
    """A path that stays inside any folder it is put under, on any system: relative, with slashes, in Unicode's NFC.

    What passes passes again, unchanged.

    Args:
        path: as it came. what: the thing's name in the error's text.

    Raises:
        BadPath: it doesn't; the text says why, with the name shortened.
    """
    if len(path) > MAX_CHARACTERS:
        raise _bad(path, what, f"it has {len(path):,} characters, {MAX_CHARACTERS:,} are allowed")
    if not path:
        raise _bad(path, what, "it is empty")
    normal = path if path.isascii() else unicodedata.normalize("NFC", path)
    if len(normal) > MAX_CHARACTERS:
        raise _bad(path, what, f"it has more than {MAX_CHARACTERS:,} characters")
    parts = normal.split("/")
    if len(parts) > MAX_DEPTH:
        raise _bad(path, what, f"it has more than {MAX_DEPTH} folders in each other")
    if not parts[0]:
        raise _bad(path, what, "it must not begin with a slash")
    for part in parts:
        if fault := part_fault(part):
            raise _bad(path, what, fault)
    return normal


def parts_of(key: str) -> list[str]:
    """The parts of a key; [] for "", which is the folder of everything.

    Raises:
        BadPath: it isn't a key.
    """
    return checked(key, "key").split("/") if key else []


def part_fault(part: str) -> str | None:
    """Why a text can't be the name of one file or folder; None when it can, and is in Unicode's NFC."""
    if _ORDINARY.fullmatch(part):
        return _reserved_fault(part)
    if not part:
        return "a part of it is empty"
    if part in (".", ".."):
        return f"it has {part!r} as a part"
    return _character_fault(part) or _compatible_fault(part) or _system_fault(part)


def _character_fault(part: str) -> str | None:
    if "\\" in part:
        return "it has a backslash"
    if "\0" in part:
        return "it has a NUL character"
    for character in part:
        kind = unicodedata.category(character)
        if kind in _NOT_IN_NAMES:
            return f"it has {_NOT_IN_NAMES[kind]} (U+{ord(character):04X})"
        if character in _DIRECTIONS or character in _LIKE_SLASHES or _is_no_character(ord(character)):
            return f"it has the character U+{ord(character):04X}, which can be mistaken"
    return None


def _is_no_character(code: int) -> bool:
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _compatible_fault(part: str) -> str | None:
    """What another system might make of it: a fullwidth slash becomes a slash in Unicode's NFKC."""
    if part.isascii():
        return None
    if unicodedata.normalize("NFC", part) != part:
        return "it is not in Unicode's normal form (NFC)"
    plain = unicodedata.normalize("NFKC", part)
    if "/" in plain or "\\" in plain:
        return "it has a character that can be taken for a slash"
    if not plain.strip(". "):
        return "it can be taken for dots"
    return None


def _system_fault(part: str) -> str | None:
    size = len(part.encode())
    if size > MAX_PART_BYTES:
        return f"a part of it has {size:,} bytes, {MAX_PART_BYTES} are allowed"
    if _DRIVE.match(part):
        return "it has a drive letter"
    if part[-1] in ". ":
        return "a part of it ends with a dot or a space"
    if part.casefold().startswith(OWN_PREFIXES):
        return "names that begin so are our own"
    return _reserved_fault(part if part.isascii() else unicodedata.normalize("NFKC", part))


def _reserved_fault(part: str) -> str | None:
    return "Windows reserves that name" if _RESERVED.fullmatch(part) else None


def _bad(path: str, what: str, reason: str) -> BadPath:
    shown = path if len(path) <= _SHOWN else f"{path[: _SHOWN - 20]}…{path[-19:]}"
    return BadPath(f"The {what} {ascii(shown) if _is_odd(shown) else repr(shown)} cannot be used: {reason}.")


def _is_odd(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cf", "Co", "Cn") for character in text)
