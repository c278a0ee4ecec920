"""Which roles the assignees of a lock are: user code names a role by its id, its name or its e-mail."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import func, or_, select

from .database import AdminDatabase, Role

MAX_ASSIGNEES = 200
"""Assignees of one lock; nobody beyond them may answer."""

_MAX_LOOKED_UP = 2_000


@dataclass(frozen=True, slots=True)
class Known:
    """A role as locks show it.

    Attributes:
        id: role id. name: login name.
    """

    id: str
    name: str


Assigned = Mapping[str, Known | None]
"""Roles by what names them."""


async def assigned(database: AdminDatabase, wanted: Iterable[str]) -> Assigned:
    """The role that each assignee names, None when it names nobody (or nobody for sure).

    An id counts before a name, a name before an e-mail. Letters of e-mails may differ in case, unless two roles differ
    in nothing else: everybody chooses their own e-mail, and must not become somebody else by that.
    """
    texts = [text for text in dict.fromkeys(wanted) if text.isprintable()][:_MAX_LOOKED_UP]
    if not texts:
        return {}
    ids = [role_id for text in texts if (role_id := _as_uuid(text))]
    lowered = [text.lower() for text in texts if "@" in text]
    named = or_(Role.id.in_(ids), Role.name.in_(texts), Role.email.in_(texts), func.lower(Role.email).in_(lowered))
    async with database.session() as session:
        roles = list(await session.scalars(select(Role).where(named)))
    return {text: _named(text, roles) for text in texts}


async def names_of(database: AdminDatabase, role_ids: Collection[str]) -> Mapping[str, str]:
    """Login names by role id; roles that are gone are missing."""
    ids = [known for role_id in role_ids if (known := _as_uuid(role_id))]
    if not ids:
        return {}
    async with database.session() as session:
        rows = await session.execute(select(Role.id, Role.name).where(Role.id.in_(ids)))
        return {row.id: row.name for row in rows}


def _named(text: str, roles: list[Role]) -> Known | None:
    matches = (
        [role for role in roles if role.id == _as_uuid(text)],
        [role for role in roles if role.name == text],
        [role for role in roles if role.email == text],
        [role for role in roles if "@" in text and role.email.lower() == text.lower()],
    )
    found = next((each for each in matches if each), [])
    return Known(found[0].id, found[0].name) if len(found) == 1 else None


def _as_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
