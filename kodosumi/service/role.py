"""``/role``: who may log in. Operators manage everyone; everyone reads and changes themselves under ``/role/me``."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .accounts import all_roles, begin_session, create_role, delete_role, find_role, update_role
from .auth import CurrentUser, Operator, User, api_key_of
from .context import Panel, PanelContext
from .errors import ApiError
from .login import set_session_cookie
from .passwords import MAX_PASSWORD_BYTES

router = APIRouter(prefix="/role", tags=["Roles"], max_body_size=65_536)

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_RESERVED = frozenset({"me", "_annon_"})


def check_name(name: str) -> str:
    """``name`` if a role may have it.

    Raises:
        ValueError: says why not.
    """
    name = name.strip()
    if not name or not name.isprintable() or "/" in name or name in _RESERVED:
        raise ValueError("a name is printable, has no slash and is not reserved")
    try:
        uuid.UUID(name)
    except ValueError:
        return name
    raise ValueError("a name must not look like an id")


def check_email(email: str) -> str:
    """``email`` if it has the shape of an address.

    Raises:
        ValueError: it has not.
    """
    email = email.strip()
    if not _EMAIL.fullmatch(email) or not email.isprintable():
        raise ValueError("not an e-mail address")
    return email


def check_password(password: str) -> str:
    """``password`` if it can be kept.

    Raises:
        ValueError: empty, longer than bcrypt reads, or with a NUL.
    """
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise ValueError("a password is valid Unicode text") from None
    if not password or "\0" in password or size > MAX_PASSWORD_BYTES:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD_BYTES} bytes and no NUL")
    return password


Name = Annotated[str, Field(max_length=100), AfterValidator(check_name)]
Email = Annotated[str, Field(max_length=320), AfterValidator(check_email)]
Password = Annotated[str, AfterValidator(check_password)]


class RoleResponse(BaseModel):
    """A role as clients see it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    email: str
    active: bool
    operator: bool


class NewRole(BaseModel):
    """What makes a role."""

    name: Name
    email: Email
    password: Password
    operator: bool = False


class RoleChanges(BaseModel):
    """What an operator may change; what is left out stays."""

    name: Name | None = None
    email: Email | None = None
    password: Password | None = None
    active: bool | None = None
    operator: bool | None = None


class OwnChanges(BaseModel):
    """What everybody may change about themselves; what is left out stays."""

    email: Email | None = None
    password: Password | None = None


@router.post("", status_code=201)
async def create(new: NewRole, operator: Operator, panel: PanelContext) -> RoleResponse:
    """Makes a role; 409 when its name or e-mail is taken."""
    return _shown(await create_role(panel.database, new.name, new.email, new.password, new.operator))


@router.get("")
async def roles(operator: Operator, panel: PanelContext) -> list[RoleResponse]:
    """Every role, by name."""
    return [_shown(role) for role in await all_roles(panel.database)]


@router.get("/me")
async def own(user: CurrentUser) -> RoleResponse:
    """One's own role."""
    return _shown(user)


@router.put("/me")
async def change_own(
    changes: OwnChanges, request: Request, response: Response, user: CurrentUser, panel: PanelContext
) -> RoleResponse:
    """Changes one's own e-mail or password. A new password ends every session but this browser's."""
    return _shown(await change_oneself(request, response, panel, user, **changes.model_dump(exclude_none=True)))


@router.get("/{name_or_id}")
async def role(name_or_id: str, operator: Operator, panel: PanelContext) -> RoleResponse:
    """One role."""
    return _shown(await find_role(panel.database, name_or_id))


@router.put("/{role_id}")
async def change(role_id: str, changes: RoleChanges, operator: Operator, panel: PanelContext) -> RoleResponse:
    """Changes a role. A new password or ``active: false`` ends its sessions; the last active operator stays (409)."""
    return _shown(await update_role(panel.database, role_id, **changes.model_dump(exclude_none=True)))


@router.delete("/{role_id}", status_code=204)
async def remove(role_id: str, operator: Operator, panel: PanelContext) -> None:
    """Removes a role; its executions stay. The last active operator stays (409)."""
    await delete_role(panel.database, role_id)


async def change_oneself(request: Request, response: Response, panel: Panel, user: User, **changes: str) -> User:
    """Changes one's own role; after a new password this browser, and only it, stays logged in.

    Args:
        request: whoever asks. response: gets the new session's cookie where a cookie was used.
        panel: of the request. user: whose role it is.
        changes: ``email``, ``password``, unchecked or checked.

    Raises:
        ApiError: 400 with the reason, 409 the e-mail is taken.
    """
    checks = {"email": check_email, "password": check_password}
    try:
        accepted: dict[str, Any] = {name: checks[name](value) for name, value in changes.items()}
    except ValueError as exc:
        raise ApiError(400, f"Not changed: {exc}.") from None
    role = await update_role(panel.database, user.id, **accepted)
    if "password" in accepted and api_key_of(request) is None:
        set_session_cookie(response, panel, await begin_session(panel, user.id))
    return User(role.id, role.name, role.email, role.operator, role.active)


def _shown(role: object) -> RoleResponse:
    return RoleResponse.model_validate(role)
