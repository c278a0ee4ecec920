"""The settings themselves: names that nobody reads, and values that can't be used together."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dotenv import dotenv_values

from ..config import Settings
from ..error import ConfigurationError
from ..options import variable_of
from .report import Finding, fine, warning, wrong

PREFIX = "KODO_"
ENV_FILE = Path(".env")
_SIMILAR = 0.75


def found_in(env_file: Path | None) -> Iterator[Finding]:
    """Where settings come from, and which of the names there are unknown.

    Args:
        env_file: read instead of ``.env``.
    """
    path = env_file or ENV_FILE
    if env_file is not None and not path.is_file():
        yield wrong("file", f"{path} is not there", "Name a file that is, by `koco doctor --env-file`.")
        return
    try:
        in_file = list(dotenv_values(path, encoding="utf-8")) if path.is_file() else []
    except (OSError, UnicodeDecodeError) as exc:
        yield wrong("file", f"{path} cannot be read: {exc}", "Give this user the right to read it, as UTF-8 text.")
        return
    given = [name for name in os.environ if name.upper().startswith(PREFIX)]
    source = f"{path} and the environment" if in_file else "the environment"
    known = {variable_of(name) for name in Settings.model_fields}
    count = len({name.upper() for name in (*in_file, *given)} & known)
    yield fine("variables", f"{count} set, in {source}" if count else "none set: defaults")
    yield from unknown((*in_file, *given))


def unknown(names: Iterable[str]) -> Iterator[Finding]:
    """A finding for each name of ours that no setting has; its value is never shown.

    Args:
        names: of variables.
    """
    known = sorted(variable_of(name) for name in Settings.model_fields)
    for name in sorted({name.upper() for name in names if name.upper().startswith(PREFIX)} - set(known)):
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR)
        remedy = f"Did you mean {nearest[0]}? Rename it" if nearest else "Remove it"
        yield warning(name, "no setting has this name: it is ignored", f"{remedy}; `koco doctor` shows what is left.")


def usable(settings: Settings) -> Iterator[Finding]:
    """Values that are readable and still can't be used."""
    if not settings.webhook_url:
        return
    from ..webhook import target_of

    try:
        target_of(settings)
    except ConfigurationError as exc:
        yield wrong("webhook", str(exc), "Set KODO_WEBHOOK_URL and KODO_WEBHOOK_SECRET as the how-to *Webhook* says.")
    else:
        yield fine("webhook", "usable; nothing was sent")
