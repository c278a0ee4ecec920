"""Passwords: bcrypt, computed in threads of its own so that a crowd of logins can't hold up anything else."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import bcrypt

ROUNDS = 12
"""Cost of a new hash, as a power of two."""

MAX_PASSWORD_BYTES = 72
"""bcrypt reads no more; a longer password is refused rather than cut."""

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bcrypt")
_decoys: dict[int, bytes] = {}


async def hash_password(password: str) -> str:
    """The bcrypt hash to keep.

    Raises:
        ValueError: longer than :data:`MAX_PASSWORD_BYTES` in UTF-8, or it holds a NUL.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, _hash, password)


async def password_matches(password: str, hashed: str | None) -> bool:
    """Whether a password is the hashed one; takes the same time when there is no hash (unknown name)."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _matches, password, hashed)


def _hash(password: str) -> str:
    data = password.encode()
    if len(data) > MAX_PASSWORD_BYTES or b"\0" in data:
        raise ValueError(f"a password has at most {MAX_PASSWORD_BYTES} bytes and no NUL")
    return bcrypt.hashpw(data, bcrypt.gensalt(ROUNDS)).decode()


def _matches(password: str, hashed: str | None) -> bool:
    data = password.encode("utf-8", "replace")
    usable = hashed is not None and len(data) <= MAX_PASSWORD_BYTES and b"\0" not in data
    reference = hashed.encode() if usable and hashed else _decoy()
    try:
        return bcrypt.checkpw(data if usable else b"decoy", reference) and usable
    except ValueError:  # what is stored is no bcrypt hash
        return False


def _decoy() -> bytes:
    if ROUNDS not in _decoys:
        _decoys[ROUNDS] = bcrypt.hashpw(b"nobody", bcrypt.gensalt(ROUNDS))
    return _decoys[ROUNDS]
