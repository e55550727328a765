"""The values of `kit.operations`: one call about one record, its outcome, and a job of many calls.

Decides the form of a job in the resume token, and which error the status of a call in a job means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.kit.look import Row
from connectors.base.values import Record


@dataclass(frozen=True, slots=True)
class RecordOperation:
    """One call about one record of one person: an erasure, or a look."""

    ref: str
    erases: bool
    record: Record


class Effect(StrEnum):
    """The vendor's answer to an operation.

    ABSENT also answers a look; KEPT: the vendor doesn't permit the erasure.
    """

    ERASED = "erased"
    ABSENT = "absent"
    KEPT = "kept"


Outcome = Row | Effect
"""A row is the answer to a look that found one."""

Outcomes = Mapping[RecordOperation, Outcome | ConnectorError]


class JobGone(Exception):  # noqa: N818 - a fact about the job, not a fault
    """The vendor doesn't know the job, or forgot its results. Its effects are to be looked at."""


class JobUndecided(Exception):  # noqa: N818 - a fact about the job, not a fault
    """A job that may be this batch's runs, and the vendor shows its operations only at its end."""


@dataclass
class Job:
    """A job of `size` operations.

    Without `id` it was about to be opened at `opened_at`, and may have been.
    """

    operations: tuple[RecordOperation, ...]
    size: int
    opened_at: datetime
    id: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, operations: Sequence[RecordOperation]) -> Job:
        """Return a job that is about to be opened now."""
        return cls(tuple(operations), len(operations), datetime.now(UTC))

    @classmethod
    def unpacked(cls, row: Mapping[str, Any]) -> Job:
        """Return a job as it was packed. Raises ValueError, KeyError or TypeError for another form."""
        operations = tuple(
            RecordOperation(ref, bool(erases), Record(name, i)) for ref, erases, name, i in row["operations"]
        )
        return cls(operations, int(row["size"]), datetime.fromisoformat(row["opened_at"]), row["id"])

    def packed(self) -> dict[str, Any]:
        """Return JSON values for the resume token."""
        operations = [[o.ref, o.erases, o.record.object, o.record.id] for o in self.operations]
        return {"operations": operations, "size": self.size, "opened_at": self.opened_at.isoformat(), "id": self.id}

    def operation_ids(self, batch_key: str) -> frozenset[str]:
        """Return the names of all operations."""
        return frozenset(self.operation_id(batch_key, operation) for operation in self.operations)

    def operation_id(self, batch_key: str, operation: RecordOperation) -> str:
        """Return a name that is the same on every attempt at this job, in no other job, and tells nothing."""
        verb, record = "delete" if operation.erases else "look", operation.record
        text = "\x1f".join((batch_key, self.opened_at.isoformat(), operation.ref, verb, record.object, record.id))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def error_of(status: int, *, erases: bool) -> ConnectorError:
    """Return the error for the status of one operation in a job, as `VendorClient` names it for a call."""
    if status == 429 or status >= 500:
        return TemporarilyUnavailable("operation_failed", status=status, effect_unknown=erases)
    if status in (401, 403):
        return CredentialsRefused("operation_forbidden", status=status)
    if 400 <= status < 500:
        return RequestRefused("operation_refused", status=status)
    return AnswerNotUnderstood("unexpected_success", status=status, effect_unknown=erases)
