"""Who may do what: the vocabulary that every service and route speaks.

Roles and permissions, the acting user (`Actor`), and the errors that a refusal raises. Nothing here knows HTTP: the
guard that enforces what routes declare stands in `accounts/guards.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct


class Role(StrEnum):
    """What a user is. Owners and admins see every project, members and viewers the ones they belong to."""

    OWNER = "owner"  # everything, owners included
    ADMIN = "admin"  # everything but owners
    MEMBER = "member"  # their projects, to read and change
    VIEWER = "viewer"  # their projects, to read


class Permission(StrEnum):
    """What a route or a service call needs. The values are the scopes of API tokens, where there is one."""

    ACCOUNT = "account"  # one's own profile, password, sessions and tokens: anybody signed in, never a token
    ISSUES_READ = "issues:read"
    ISSUES_WRITE = "issues:write"
    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"  # settings and keys of a project one sees
    PROJECTS_MANAGE = "projects:manage"  # create, delete, membership
    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    SYSTEM_READ = "system:read"  # spool, store, deliveries, health: of the whole appliance
    SYSTEM_WRITE = "system:write"  # dead letters: retry, discard
    USERS_MANAGE = "users:manage"  # invite, change and disable users; links to hand over
    OWNERS_MANAGE = "owners:manage"  # make, change and disable owners


P = Permission
_VIEWER: Final = frozenset({P.ACCOUNT, P.ISSUES_READ, P.PROJECTS_READ, P.ALERTS_READ})
_MEMBER: Final = _VIEWER | {P.ISSUES_WRITE, P.PROJECTS_WRITE, P.ALERTS_WRITE}
_ADMIN: Final = _MEMBER | {P.PROJECTS_MANAGE, P.SYSTEM_READ, P.SYSTEM_WRITE, P.USERS_MANAGE}

ROLE_PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.OWNER: _ADMIN | {P.OWNERS_MANAGE},
    Role.ADMIN: _ADMIN,
    Role.MEMBER: _MEMBER,
    Role.VIEWER: _VIEWER,
}

# What a token of that scope may do, as far as its user's role may: managing users takes a person.
SCOPE_PERMISSIONS: Final[Mapping[str, frozenset[Permission]]] = {
    "issues:read": frozenset({P.ISSUES_READ}),
    "issues:write": frozenset({P.ISSUES_READ, P.ISSUES_WRITE}),
    "projects:read": frozenset({P.PROJECTS_READ}),
    "projects:write": frozenset({P.PROJECTS_READ, P.PROJECTS_WRITE, P.PROJECTS_MANAGE}),
    "alerts:read": frozenset({P.ALERTS_READ}),
    "alerts:write": frozenset({P.ALERTS_READ, P.ALERTS_WRITE}),
    "system:read": frozenset({P.SYSTEM_READ}),
    "system:write": frozenset({P.SYSTEM_READ, P.SYSTEM_WRITE}),
}


class AccessError(Exception):
    """A refusal; the text is for the person who was refused."""

    status: int = 403


class NotSignedInError(AccessError):
    """Nobody is known: no session, no token, or one that ended."""

    status = 401


class ForbiddenError(AccessError):
    """Somebody is known, and may not do this."""


class NotFoundError(AccessError):
    """There is no such thing, or it belongs to a project that this person does not see: the answer is the same."""

    status = 404


class InvalidInputError(AccessError):
    """What was typed cannot be taken; `errors` says why for each field ("" = the form as a whole)."""

    status = 422

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


class WaitError(AccessError):
    """Not now: too many attempts (429), or too much to do (503)."""

    def __init__(self, message: str, *, retry_after: int, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class Actor(Struct, frozen=True, kw_only=True):
    """The acting user, as services see it: the role, the projects, and for a token its scopes."""

    user_id: int
    email: str
    role: Role
    project_ids: frozenset[int] | None  # None: all of them
    scopes: frozenset[str] | None = None  # None: a person in a browser, or the command line
    session_id: int | None = None  # of user_sessions
    name: str = ""
    timezone: str = ""

    def may(self, permission: Permission) -> bool:
        """Whether the role, and the token's scopes if it is one, allow this somewhere."""
        if permission not in ROLE_PERMISSIONS[self.role]:
            return False
        return self.scopes is None or any(
            permission in SCOPE_PERMISSIONS.get(scope, frozenset[Permission]()) for scope in self.scopes
        )

    def sees(self, project_id: int) -> bool:
        """Whether this project is one of theirs."""
        return self.project_ids is None or project_id in self.project_ids

    def require(self, permission: Permission) -> None:
        """Raise `ForbiddenError` unless `may(permission)`."""
        if self.may(permission):
            return
        if self.scopes is not None and permission in ROLE_PERMISSIONS[self.role]:
            raise ForbiddenError(f"This token lacks the scope {permission}: make one that has it, under Account.")
        raise ForbiddenError(f"A {self.role} may not do this (it needs {permission}). Ask an owner or an admin.")

    def require_project(self, project_id: int, permission: Permission) -> None:
        """Check both ownership and permission.

        Args:
            project_id: the project that the thing read or changed belongs to.
            permission: what is to be done with it.

        Raises:
            NotFoundError: the project is not one of theirs; nothing tells whether it exists.
            ForbiddenError: they see it, and may not do this.
        """
        if not self.sees(project_id):
            raise NotFoundError("There is no such page, or it belongs to a project that you are not a member of.")
        self.require(permission)

    def visible(self, project_ids: frozenset[int] | None) -> frozenset[int] | None:
        """Of the asked projects (None: all) those they see; None when that is all without exception."""
        if project_ids is None:
            return self.project_ids
        return project_ids if self.project_ids is None else project_ids & self.project_ids


# Who acts when a person uses the command line: whoever reaches the data directory is an owner.
COMMAND_LINE: Final = Actor(user_id=0, email="command line", role=Role.OWNER, project_ids=None)

# What a Litestar handler, controller or router states in `opt`; a handler that states neither does not start.
PUBLIC: Final[Mapping[str, object]] = {"public": True}


def requires(permission: Permission) -> dict[str, object]:
    """For a handler's `opt`: `@get("/issues", opt=requires(Permission.ISSUES_READ))`."""
    return {"permission": permission}
