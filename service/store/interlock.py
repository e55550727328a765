"""The safety interlock in front of every vendor call.

It is engaged while the audit log disagrees with an anchor, and for a process that this store doesn't know. Decides
nothing itself: service.audit.reconcile compares the log with the anchors and writes the conflicts, and the transaction
that leases work reads them. Each process has an admission since it compared the store with the anchors, and exchanges
it for a fresh one every few seconds. A database that was restored under a running process doesn't hold the newest
admission, so that the process gets no work before it has compared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Text,
    and_,
    any_,
    bindparam,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import insert

from service.domain.audit.anchor import Conflict
from service.store.arrays import BinaryArray, array_parameter
from service.store.execute import execute
from service.store.tables.anchors import AnchorConflictRow, VendorAdmissionRow

NOT_COMPARED = "no_anchor_reachable"
"""The code of the conflict that exists while no anchor answers; it is removed as soon as one answers."""
_EVERY_ANCHOR = "every_anchor"

_NOW: ColumnElement[object] = func.clock_timestamp(type_=DateTime(timezone=True))
_IS_OPEN = AnchorConflictRow.accepted_at.is_(None)
_ADMISSION = bindparam("admission", type_=UuidType())
_IS_ENGAGED = select(
    or_(
        exists().where(_IS_OPEN),
        and_(_ADMISSION.is_not(None), not_(exists().where(VendorAdmissionRow.id == _ADMISSION))),
    )
)
_OPEN_CONFLICTS = (
    select(AnchorConflictRow.anchor, AnchorConflictRow.code, AnchorConflictRow.detail)
    .where(_IS_OPEN)
    .order_by(AnchorConflictRow.id)
)
_KEEP = (
    insert(AnchorConflictRow)
    .values(anchor=bindparam("anchor"), code=bindparam("code"), detail=bindparam("detail"))
    .on_conflict_do_nothing(index_elements=["anchor", "code"], index_where=_IS_OPEN)
)
_ACCEPT = (
    update(AnchorConflictRow)
    .where(_IS_OPEN, AnchorConflictRow.anchor == any_(array_parameter("anchors", Text())))
    .values(accepted_at=_NOW, accepted_by=bindparam("accepted_by"))
)
_REMOVE = delete(AnchorConflictRow).where(_IS_OPEN, AnchorConflictRow.code == bindparam("of_code"))
_ADMIT = insert(VendorAdmissionRow).values(id=bindparam("id"))
_RENEW = (
    update(VendorAdmissionRow)
    .where(VendorAdmissionRow.id == bindparam("old"))
    .values(id=bindparam("new"), admitted_at=_NOW)
)
_DELETE_OLD = delete(VendorAdmissionRow).where(VendorAdmissionRow.admitted_at < _NOW - timedelta(days=1))


@dataclass(frozen=True)
class OpenConflict:
    """A disagreement that no human has decided about."""

    anchor: str
    code: str
    detail: str


def is_engaged(connection: Connection, admission: UUID | None = None) -> bool:
    """Return True if no work that calls vendors may be leased.

    With `admission`: by the process that holds it.
    """
    return bool(execute(connection, _IS_ENGAGED, {"admission": admission}).scalar_one())


def open_conflicts(connection: Connection) -> list[OpenConflict]:
    """Return the disagreements that keep the interlock engaged, oldest first."""
    return [OpenConflict(row.anchor, row.code, row.detail) for row in execute(connection, _OPEN_CONFLICTS).all()]


def engage(connection: Connection, conflicts: Sequence[Conflict]) -> None:
    """Store disagreements until a human accepts them.

    One that is stored already stays as it was found first.
    """
    for conflict in conflicts:
        execute(connection, _KEEP, {"anchor": conflict.anchor, "code": conflict.code, "detail": conflict.detail})


def engage_until_compared(connection: Connection) -> None:
    """Engage the interlock because no anchor answered."""
    execute(connection, _KEEP, {"anchor": _EVERY_ANCHOR, "code": NOT_COMPARED, "detail": ""})


def end_missing_comparison(connection: Connection) -> None:
    """Remove the conflict of `engage_until_compared`, because an anchor answered."""
    execute(connection, _REMOVE, {"of_code": NOT_COMPARED})


def accept_conflicts(connection: Connection, anchors: Sequence[str], operator: str) -> None:
    """Write that this operator accepts every open conflict with these anchors."""
    execute(connection, _ACCEPT, {"anchors": BinaryArray(anchors), "accepted_by": operator})


def admit_process(connection: Connection) -> UUID:
    """Return a new admission, for a process that has just compared the store with the anchors."""
    admission = uuid4()
    execute(connection, _DELETE_OLD)
    execute(connection, _ADMIT, {"id": admission})
    return admission


def renew_admission(connection: Connection, admission: UUID) -> UUID | None:
    """Exchange an admission for a fresh one.

    Returns None if this store doesn't know it, or the interlock is engaged.
    """
    fresh = uuid4()
    if is_engaged(connection, admission):
        return None
    return fresh if execute(connection, _RENEW, {"new": fresh, "old": admission}).rowcount else None
