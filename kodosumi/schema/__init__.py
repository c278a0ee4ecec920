"""The schema of the databases: which there are, whether it is this version's, bringing it up or down.

Migrations lie in ``migrations/`` at the top level, in an installed package beside this one. Whoever only asks how
things stand imports neither SQLAlchemy nor Alembic.
"""

from __future__ import annotations

from .databases import REVISIONS, Database, Standing, State, current, database_of, databases
from .migration import downgrade, upgrade
from .requirement import behind, require_current, until_current, until_reached

__all__ = [
    "REVISIONS",
    "Database",
    "Standing",
    "State",
    "behind",
    "current",
    "database_of",
    "databases",
    "downgrade",
    "require_current",
    "until_current",
    "until_reached",
    "upgrade",
]
