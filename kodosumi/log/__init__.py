"""Logs: one line a record, on the terminal and in a rotated file. Never an event's payload, a password or a token.

``context.py`` knows which run and which request this is, ``formats.py`` writes the lines, ``files.py`` keeps them and
``setup.py`` puts them together for a process. Nothing here reads settings; whoever has some hands in its own.
"""

from .context import REQUEST_ID_HEADER, about, current_fid, current_request_id, outliving, set_fid, usable_request_id
from .files import SharedRotatingFile
from .formats import JsonFormatter, LineFormatter, WithoutQuery
from .setup import last_words, logging_config, setup_last_resort, setup_logging
from .troubles import Troubles

__all__ = [
    "REQUEST_ID_HEADER",
    "JsonFormatter",
    "LineFormatter",
    "SharedRotatingFile",
    "Troubles",
    "WithoutQuery",
    "about",
    "current_fid",
    "current_request_id",
    "last_words",
    "logging_config",
    "outliving",
    "set_fid",
    "setup_last_resort",
    "setup_logging",
    "usable_request_id",
]
