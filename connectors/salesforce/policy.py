"""The configuration's decisions: delete, anonymise, unlink or retain per object; identifiers; purging.

The defaults keep what commercial law usually makes a company keep, and say so in the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from connectors.base.config import IdentifierKind, SystemModel

_Rule = Annotated[
    str,
    # A reason is written into the audit log: at most six digits.
    StringConstraints(
        pattern=r"^(delete|anonymise|unlink|retain:[a-z](?:[a-z_]*[0-9]){0,6}[a-z_]*)$", max_length=len("retain:") + 61
    ),
]
_KEPT_BY_LAW = "retain:commercial_records"

DEFAULT_OBJECTS: Mapping[str, str] = {
    "Opportunity": "unlink",
    "Order": _KEPT_BY_LAW,
    "Contract": _KEPT_BY_LAW,
    "ServiceContract": _KEPT_BY_LAW,
    "Invoice": _KEPT_BY_LAW,
    "CreditMemo": _KEPT_BY_LAW,
}


class Action(StrEnum):
    """The action on a record."""

    DELETE = "delete"
    ANONYMISE = "anonymise"
    UNLINK = "unlink"
    RETAIN = "retain"


@dataclass(frozen=True)
class ObjectRule:
    """The rule of one object, the reason code where it stays, and whether nobody configured it."""

    action: Action
    reason: str | None = None
    is_default: bool = False


class SalesforcePolicy(SystemModel):
    """README.md explains each key."""

    api_version: Annotated[str, StringConstraints(pattern=r"^\d{2,3}\.0$")] = "66.0"
    objects: dict[str, _Rule] = Field(default_factory=dict)
    fields: dict[str, IdentifierKind] = Field(default_factory=dict)
    values: dict[str, str] = Field(default_factory=dict)
    shared_kinds: tuple[IdentifierKind, ...] = ()
    home_region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None
    internal_users: Literal["review", "anonymise"] = "review"
    purge: Literal["auto", "hard_delete", "recycle_bin", "none"] = "auto"
    bulk_from: Annotated[int, Field(ge=1)] = 670
    daily_call_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    cache_directory: str | None = None
    schema_hours: Annotated[float, Field(gt=0)] = 24.0
    overlap_minutes: Annotated[float, Field(ge=0, le=1440)] = 30.0
    plan_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    count_related: bool = False

    @field_validator("fields", "values")
    @classmethod
    def _object_and_field(cls, value: dict[str, str]) -> dict[str, str]:
        if any(name.count(".") != 1 for name in value):
            raise ValueError('keys are "Object.Field"')
        return value

    def rule(self, name: str) -> ObjectRule:
        """The rule of an object: the configuration's, else the default, else delete."""
        text = self.objects.get(name) or DEFAULT_OBJECTS.get(name) or Action.DELETE.value
        action, _, reason = text.partition(":")
        return ObjectRule(Action(action), reason or None, name not in self.objects)

    @property
    def staying(self) -> frozenset[str]:
        """Objects whose records stay, without their reference to the person: the records below them aren't read."""
        names = {*self.objects, *DEFAULT_OBJECTS}
        return frozenset(name for name in names if self.rule(name).action in (Action.UNLINK, Action.RETAIN))
