"""Roles and sessions in the admin database: what the routes of ``role.py`` and ``login.py`` do, without HTTP.

The rules that hold everywhere are here: one last active operator stays; whatever changes a password or disables a
role ends its sessions.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from sqlalchemy import Row, bindparam, delete, exists, insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ..config import Settings
from .context import Panel
from .database import AdminDatabase, LoginSession, Role
from .errors import ApiError
from .jwt import LIFETIME_S, Claims
from .passwords import hash_password, password_matches

FIRST_OPERATOR = "admin"
"""Name of the role that is made when there is none at all."""

_LIVING = (
    select(Role.id, Role.name, Role.email, Role.operator, Role.active)
    .join(LoginSession, LoginSession.role_id == Role.id)
    .where(LoginSession.id == bindparam("session_id"), Role.id == bindparam("of"), Role.active)
)
"""The role of a session. Made once, since every request asks it."""


async def has_roles(database: AdminDatabase) -> bool:
    """Whether there is any role at all."""
    async with database.session() as session:
        return bool(await session.scalar(select(exists(select(Role.id)))))


async def ensure_first_operator(database: AdminDatabase, settings: Settings) -> None:
    """Makes the first operator when there is no role at all; of several processes at once, one does."""
    if await has_roles(database):
        return
    hashed = await hash_password(settings.admin_password)
    row = select(
        literal(str(uuid.uuid4()), Role.id.type),
        literal(FIRST_OPERATOR),
        literal(settings.admin_email),
        literal(True),
        literal(hashed),
        literal(True),
    ).where(~exists(select(Role.id)))
    columns = ["id", "name", "email", "active", "password", "operator"]
    try:
        async with database.session() as session:
            await session.execute(insert(Role).from_select(columns, row, include_defaults=False))
    except IntegrityError:
        return  # another process was first


async def default_password_in_use(database: AdminDatabase) -> bool:
    """Whether an active operator still has the password that everybody knows."""
    default = Settings.model_fields["admin_password"].default
    async with database.session() as session:
        hashes = await session.scalars(select(Role.password).where(Role.operator, Role.active))
    for hashed in hashes:
        if await password_matches(default, hashed):
            return True
    return False


async def authenticated(panel: Panel, name: str, password: str) -> Role | None:
    """The active role with this name and password, or None; as slow for unknown names as for known ones."""
    async with panel.database.session() as session:
        role = await session.scalar(select(Role).where(Role.name == _possible(name)))
    matches = await password_matches(password, role.password if role else None)
    return role if role is not None and matches and role.active else None


async def begin_session(panel: Panel, role_id: str) -> str:
    """A new login of a role: its token. Sessions that are over are swept on the way."""
    now = time.time()
    expires_at = int(now) + LIFETIME_S
    login = LoginSession(id=uuid.uuid4().hex, role_id=role_id, expires_at=expires_at)
    async with panel.database.session() as session:
        await session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
        session.add(login)
    return panel.tokens.token(role_id, login.id, expires_at)


async def end_session(panel: Panel, token: str) -> None:
    """Ends the login that a token belongs to; a token that holds no more is fine."""
    claims = panel.tokens.claims(token)
    if claims is not None and claims.session_id.isalnum():
        async with panel.database.session() as session:
            await session.execute(delete(LoginSession).where(LoginSession.id == claims.session_id))


async def session_role(database: AdminDatabase, claims: Claims) -> Row[*tuple[Any, ...]] | None:
    """The active role of a living session, without its password, or None."""
    role_id = _as_uuid(claims.role_id)
    if role_id is None or not claims.session_id.isalnum():
        # We never gave such ids, and not every database takes them.
        return None
    found = await database.rows(_LIVING, {"session_id": claims.session_id, "of": role_id})
    return found[0] if found else None


async def all_roles(database: AdminDatabase) -> list[Role]:
    """Every role, by name."""
    async with database.session() as session:
        return list(await session.scalars(select(Role).order_by(Role.name)))


async def find_role(database: AdminDatabase, name_or_id: str) -> Role:
    """The role with this id or name.

    Raises:
        ApiError: 404.
    """
    wanted = Role.id == role_id if (role_id := _as_uuid(name_or_id)) else Role.name == _possible(name_or_id)
    async with database.session() as session:
        role = await session.scalar(select(Role).where(wanted))
    if role is None:
        raise ApiError(404, "No such role.")
    return role


async def create_role(database: AdminDatabase, name: str, email: str, password: str, operator: bool) -> Role:
    """A new active role.

    Raises:
        ApiError: 409, the name or e-mail is taken.
    """
    role = Role(
        id=str(uuid.uuid4()),
        name=name,
        email=email,
        password=await hash_password(password),
        operator=operator,
        active=True,
    )
    try:
        async with database.session() as session:
            session.add(role)
    except IntegrityError:
        raise ApiError(409, "A role with this name or e-mail exists already.") from None
    return role


async def update_role(database: AdminDatabase, role_id: str, **changes: Any) -> Role:
    """Changes a role; a new password or a disabled role ends its sessions.

    Args:
        database: of the panel.
        role_id: a uuid.
        changes: any of name, email, password, active, operator.

    Raises:
        ApiError: 404 unknown, 409 name or e-mail taken, 409 the last active operator.
    """
    if "password" in changes:
        changes["password"] = await hash_password(changes["password"])
    try:
        async with database.session() as session:
            role = await _locked(session, role_id)
            for name, value in changes.items():
                setattr(role, name, value)
            await session.flush()
            await _require_an_operator(session)
            if "password" in changes or not role.active:
                await session.execute(delete(LoginSession).where(LoginSession.role_id == role.id))
    except IntegrityError:
        raise ApiError(409, "A role with this name or e-mail exists already.") from None
    return role


async def delete_role(database: AdminDatabase, role_id: str) -> None:
    """Removes a role with its sessions; its executions stay.

    Raises:
        ApiError: 404 unknown, 409 the last active operator.
    """
    async with database.session() as session:
        role = await _locked(session, role_id)
        await session.execute(delete(LoginSession).where(LoginSession.role_id == role.id))
        await session.delete(role)
        await session.flush()
        await _require_an_operator(session)


async def _locked(session: AsyncSession, role_id: str) -> Role:
    # Operators first and locked: two that demote each other at the same moment must not both succeed. SQLite ignores
    # the lock clause; there the first write of the transaction locks, and the check comes after it.
    await session.execute(select(Role.id).where(Role.operator).order_by(Role.id).with_for_update())
    role = await session.get(Role, known) if (known := _as_uuid(role_id)) else None
    if role is None:
        raise ApiError(404, "No such role.")
    return role


async def _require_an_operator(session: AsyncSession) -> None:
    if not await session.scalar(select(exists(select(Role.id).where(Role.operator, Role.active)))):
        raise ApiError(409, "The last active operator stays; make another one first.")


def _possible(name: str) -> str:
    # No role has a name with NUL or lone surrogates, and databases don't take them.
    return name if name.isprintable() else ""


def _as_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
