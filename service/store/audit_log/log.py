"""The audit log as the rest of the service sees it: entries go in with the change, and come out by request.

Decides how entries are stored before they are sequenced and how a request's entries are read with their proofs. Doesn't
decide order (audit.sequence) or what an entry may say (domain.audit.entry).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, Connection, LargeBinary, bindparam, cast, column, func, insert, select, text
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import NullType

from service.domain.audit.entry import AuditEntry, NotAuditable, Position, position_of
from service.domain.audit.merkle import is_included, leaf_hash
from service.domain.audit.proof_bundle import ProvenEntry
from service.domain.audit.signed_note import Checkpoint
from service.domain.errors import EvidenceRemoved
from service.store.arrays import BinaryArray
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.pruned import pruned_prefix
from service.store.audit_log.tree import inclusion_proofs
from service.store.execute import Result, execute
from service.store.tables.audit import AuditPending

# The order inside one call is kept, since one transaction may log several versions of one object.
_APPEND = (
    "INSERT INTO audit_pending (entry) "
    "SELECT entry FROM unnest(CAST(:entries AS bytea[])) WITH ORDINALITY AS given(entry, place) ORDER BY place"
)
_APPEND_ONE = "INSERT INTO audit_pending (entry) VALUES (:entry)"
_GIVEN = (
    func.unnest(cast(bindparam("entries", type_=NullType()), ARRAY(LargeBinary)))
    .table_valued(column("entry", LargeBinary), with_ordinality="place")
    .render_derived(name="given")
)
_LOGGED = insert(AuditPending).from_select(["entry"], select(_GIVEN.c.entry).order_by(_GIVEN.c.place)).cte("logged")
_LOGGED_ONE = insert(AuditPending).values(entry=bindparam("entry", type_=NullType())).cte("logged")
_OF_SUBJECT = text(
    "SELECT index AS place, entry FROM audit_leaves WHERE subject = :subject AND index < :size ORDER BY index"
)


def append(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Logs entries in the caller's transaction: they are in the log exactly if the change they tell of is.

    One statement for any number; takes no lock that another writer waits for.
    """
    if entries:
        execute(connection, _APPEND, {"entries": BinaryArray(entry.encode() for entry in entries)})


def append_with(
    connection: Connection, entries: Sequence[AuditEntry], statement: str | UpdateBase, values: Mapping[str, Any]
) -> Result:
    """Logs entries and runs the change that they tell of, in one statement: half the cost of two on a busy store.

    `statement` is our own INSERT, UPDATE or DELETE, or a SELECT over further WITH queries that it begins with a comma
    for. No part of it comes from outside. An expression is a module constant. `values` has no name `entry` or
    `entries`.
    """
    one = len(entries) == 1
    logged: dict[str, Any] = (
        {"entry": entries[0].encode()} if one else {"entries": BinaryArray([e.encode() for e in entries])}
    )
    if isinstance(statement, str):
        return execute(
            connection, f"WITH logged AS ({_APPEND_ONE if one else _APPEND}) {statement}", {**values, **logged}
        )
    return execute(connection, _logging(statement, one), {**values, **logged})


@lru_cache(maxsize=256)
def _logging(statement: UpdateBase, one: bool) -> UpdateBase:
    return statement.add_cte(_LOGGED_ONE if one else _LOGGED)


def proven_entries(connection: Connection, subject: str, checkpoint: Checkpoint) -> tuple[ProvenEntry, ...]:
    """All entries of one request in a signed tree, oldest first, each with its inclusion proof, each proof verified.

    Entries that the checkpoint doesn't cover yet are not among them: run `sequence_audit(checkpoint_now=True)` first.
    Raises EvidenceRemoved where the first of them were removed after their retention: what is left proves only the end
    of a story. Raises AuditLogBroken where bytes, stored hashes and the checkpoint don't agree.
    """
    pruned = pruned_prefix(connection)
    rows = connection.execute(_OF_SUBJECT, {"subject": subject, "size": checkpoint.size}).all()
    proofs = inclusion_proofs(connection, [row.place for row in rows], checkpoint.size)
    proven = []
    begun: set[tuple[str, str]] = set()
    for row in rows:
        entry = ProvenEntry(row.place, bytes(row.entry), proofs[row.place])
        leaf = leaf_hash(entry.raw)
        if not is_included(leaf, entry.index, checkpoint.size, entry.proof, checkpoint.root):
            raise AuditLogBroken("entry_not_in_tree", f"leaf {entry.index} of checkpoint {checkpoint.size}")
        position = _position_of(entry)
        if position.subject != subject:
            raise AuditLogBroken("subject_differs", f"leaf {entry.index}")
        known = (position.object, position.object_id)
        if position.version > 1 and known not in begun:
            if not pruned:
                raise AuditLogBroken("first_entry_missing", f"leaf {entry.index}")
            raise EvidenceRemoved(f"its first entries were among the {pruned} oldest, whose retention was over")
        begun.add(known)
        proven.append(entry)
    if not proven and pruned:
        raise EvidenceRemoved(f"its entries were among the {pruned} oldest, whose retention was over")
    return tuple(proven)


def pending_count(connection: Connection) -> tuple[int, int]:
    """How many entries wait for the sequencer, and how many it refused (each of those needs a human)."""
    row = connection.execute(text("SELECT count(*) - count(refused), count(refused) FROM audit_pending")).one()
    return row[0], row[1]


def oldest_pending_seconds(connection: Connection) -> float:
    """The sequencer's lag: the age of the oldest entry that waits for it, 0 if none does. Refused ones don't wait.

    The oldest by id, which is handed out as the entry is written: the table isn't read for it.
    """
    age: float | None = connection.execute(
        text(
            "SELECT extract(epoch FROM clock_timestamp() - created_at)::float8"
            " FROM audit_pending WHERE refused IS NULL ORDER BY id LIMIT 1"
        )
    ).scalar()
    return max(age or 0.0, 0.0)


def _position_of(entry: ProvenEntry) -> Position:
    try:
        return position_of(entry.raw)
    except NotAuditable:
        raise AuditLogBroken("not_an_entry", f"leaf {entry.index}") from None
