"""The proof that the credential sees the org: rights to all data, and our own record found by a look.

Decides what counts as proof. Without it an empty answer is blindness, not absence. Source: Object Reference,
UserPermissionAccess: the running user's own permissions (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.base.errors import CredentialsRefused
from connectors.salesforce.org.schema import USER, Schema
from connectors.salesforce.org.soql import quote, select

ACCESS = "UserPermissionAccess"
_SEES_ALL = ("PermissionsViewAllData", "PermissionsModifyAllData")
Seen = Sequence[Mapping[str, Any]]


class Control:
    """The control of other statements, certain to be shown: our rights, else our own record.

    A call that doesn't show it saw nothing else either, whatever its other lists say.
    """

    def __init__(self, schema: Schema, user_id: str) -> None:
        rights = rights_asked(schema)
        self._is_rights = bool(rights)
        self.statement = rights[0] if rights else own_record_asked(user_id)

    def is_shown(self, rows: Seen) -> bool:
        """True if it was seen. Raises CredentialsRefused if what was seen is that we may not see everything."""
        if rows and self._is_rights:
            check_rights([rows])
        return bool(rows)


def rights_asked(schema: Schema) -> list[str]:
    """The statement that asks for our own rights; none where the org doesn't tell them."""
    known = schema.objects.get(ACCESS)
    seen = [name for name in _SEES_ALL if known is not None and known.has(name)]
    return [select(seen, ACCESS, limit=1)] if seen else []


def check_rights(answers: Sequence[Seen]) -> None:
    """Raises CredentialsRefused unless what was asked was answered, by a right to see everything."""
    for rows in answers:
        if not rows:
            raise CredentialsRefused("no_visibility")
        if not any(row.get(name) is True for row in rows for name in _SEES_ALL):
            raise CredentialsRefused("missing_scope")


def own_record_asked(user_id: str) -> str:
    """The statement that finds our own user."""
    return select(["Id"], USER, f"Id = {quote(user_id)}")


def check_own_record(rows: Seen, user_id: str) -> None:
    """Raises CredentialsRefused unless our own user is among the rows."""
    if not any(str(row["Id"])[:15] == user_id[:15] for row in rows):
        raise CredentialsRefused("no_visibility")
