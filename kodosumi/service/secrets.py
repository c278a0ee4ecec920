"""The panel's secret key and what a panel that others can reach must not start without."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..config import Settings
from ..error import ConfigurationError
from .database import folder_of

FILE_NAME = "secret.key"
DEFAULT_FOLDER = Path("./data")


def secret_key(settings: Settings) -> str:
    """``KODO_SECRET_KEY``, or the key generated once beside the admin database (mode 0600).

    Of several processes that start at once one makes the file, complete from its first moment, and all read it.

    Raises:
        ConfigurationError: none is set and the panel is not bound to loopback, or the file cannot be kept.
    """
    if settings.secret_key:
        return settings.secret_key
    if not settings.bound_to_loopback:
        raise ConfigurationError(
            f"KODO_SECRET_KEY is not set, and the panel at {settings.app_server} can be reached by others. "
            "Set it to a long random text, the same for all panel processes (`openssl rand -hex 32`)."
        )
    path = (folder_of(settings.admin_database) or DEFAULT_FOLDER) / FILE_NAME
    try:
        return _read(path) or _generate(path)
    except OSError as exc:
        raise ConfigurationError(f"The secret key cannot be kept in {path}: {exc}. Set KODO_SECRET_KEY.") from exc


def require_safe_password(settings: Settings, default_in_use: bool) -> None:
    """Refuses a panel that others can reach while an operator has the password that everybody knows.

    Args:
        settings: of the panel.
        default_in_use: whether an active operator has, or the first one would get, the default password.

    Raises:
        ConfigurationError: says what to set.
    """
    if settings.bound_to_loopback or not default_in_use:
        return
    raise ConfigurationError(
        f"An operator has the default password, and the panel at {settings.app_server} can be reached by others. "
        "Set KODO_ADMIN_PASSWORD before the first start; once the role exists, change its password under "
        "/admin/routes of a panel started with KODO_APP_SERVER=http://localhost:3370."
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def _generate(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was first, and never shows half a file
        except FileExistsError:
            pass
    finally:
        draft.unlink(missing_ok=True)
    return _read(path)
