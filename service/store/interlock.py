"""The gate in front of every vendor call: shut while the log disagrees with an anchor, or for a process unknown here.

Decides nothing itself: audit.reconcile compares and writes; whoever leases work asks in the transaction of
the lease. A process carries the admission that it got when it compared the store with the anchors, and changes it for
a fresh one every few seconds. A database that was restored under a running process doesn't hold its newest admission,
so the process gets no work before it compared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from service.domain.audit.anchor import Conflict
from service.store.execute import run

NOT_COMPARED = "no_anchor_reachable"
"""The code of the conflict that stands while no anchor at all could be asked; it goes by itself when one could."""
_EVERY_ANCHOR = "every_anchor"

_IS_OPEN = (
    "SELECT NOT EXISTS (SELECT 1 FROM anchor_conflicts WHERE accepted_at IS NULL)"
    " AND (CAST(:admission AS uuid) IS NULL OR EXISTS (SELECT 1 FROM vendor_admissions WHERE id = :admission))"
)
_OPEN_CONFLICTS = text("SELECT anchor, code, detail FROM anchor_conflicts WHERE accepted_at IS NULL ORDER BY id")
_KEEP = text(
    "INSERT INTO anchor_conflicts (anchor, code, detail) VALUES (:anchor, :code, :detail)"
    " ON CONFLICT (anchor, code) WHERE accepted_at IS NULL DO NOTHING"
)
_ACCEPT = text(
    "UPDATE anchor_conflicts SET accepted_at = clock_timestamp(), accepted_by = :who"
    " WHERE accepted_at IS NULL AND anchor = ANY(CAST(:anchors AS text[]))"
)
_COMPARED = text("DELETE FROM anchor_conflicts WHERE accepted_at IS NULL AND code = :code")
_ADMIT = text("INSERT INTO vendor_admissions (id) VALUES (:id)")
_RENEW = text("UPDATE vendor_admissions SET id = :new, admitted_at = clock_timestamp() WHERE id = :old")
_FORGET = text("DELETE FROM vendor_admissions WHERE admitted_at < clock_timestamp() - interval '1 day'")


@dataclass(frozen=True)
class OpenConflict:
    """A disagreement that no human has decided about."""

    anchor: str
    code: str
    detail: str


def gate_is_open(connection: Connection, admission: UUID | None = None) -> bool:
    """Whether work that calls vendors may be leased; with `admission`, by the process that got it."""
    found: bool = run(connection, _IS_OPEN, {"admission": admission}).scalar_one()
    return found


def open_conflicts(connection: Connection) -> list[OpenConflict]:
    """What keeps the gate shut, oldest first."""
    return [OpenConflict(row.anchor, row.code, row.detail) for row in connection.execute(_OPEN_CONFLICTS)]


def shut_gate(connection: Connection, conflicts: Sequence[Conflict]) -> None:
    """Keep disagreements until a human accepts them. One that stands already stays as it was found first."""
    for conflict in conflicts:
        connection.execute(_KEEP, {"anchor": conflict.anchor, "code": conflict.code, "detail": conflict.detail})


def shut_until_compared(connection: Connection) -> None:
    """No anchor could be asked."""
    connection.execute(_KEEP, {"anchor": _EVERY_ANCHOR, "code": NOT_COMPARED, "detail": ""})


def some_anchor_was_compared(connection: Connection) -> None:
    """An anchor answered again."""
    connection.execute(_COMPARED, {"code": NOT_COMPARED})


def accept_conflicts(connection: Connection, anchors: Sequence[str], who: str) -> None:
    """A human's word about everything that stands open with these anchors."""
    connection.execute(_ACCEPT, {"anchors": list(anchors), "who": who})


def admit_process(connection: Connection) -> UUID:
    """A new admission, for a process that has just compared the store with the anchors."""
    admission = uuid4()
    connection.execute(_FORGET)
    connection.execute(_ADMIT, {"id": admission})
    return admission


def renew_admission(connection: Connection, admission: UUID) -> UUID | None:
    """The fresh admission in place of one that this store knows; None if it doesn't, or the gate is shut."""
    fresh = uuid4()
    if not gate_is_open(connection, admission):
        return None
    return fresh if connection.execute(_RENEW, {"new": fresh, "old": admission}).rowcount else None
