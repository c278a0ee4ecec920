"""``koco db --import``: brings a folder of SQLite executions into the central database."""

from .command import import_folder

__all__ = ["import_folder"]
