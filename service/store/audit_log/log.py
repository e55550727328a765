"""Log entries with their changes, and read a request's entries with their proofs.

Decides how entries are stored before they are sequenced. Doesn't decide their order (audit.sequence) or what an entry
may say (domain.audit.entry).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from sqlalchemy import Connection, LargeBinary, Select, bindparam, column, func, insert, select
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import NullType

from service.domain.audit.entry import AuditEntry, NotAuditable, Position, position_of
from service.domain.audit.merkle import is_included, leaf_hash
from service.domain.audit.proof_bundle import ProvenEntry
from service.domain.audit.signed_note import Checkpoint
from service.domain.errors import EvidenceRemoved
from service.store.arrays import BinaryArray, array_parameter
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.pruned import pruned_prefix
from service.store.audit_log.tree import inclusion_proofs
from service.store.execute import Result, execute
from service.store.tables.audit import AuditLeaf, AuditPending

_GIVEN = (
    func.unnest(array_parameter("entries", LargeBinary()))
    .table_valued(column("entry", LargeBinary), with_ordinality="place")
    .render_derived(name="given")
)
# The order inside one call is kept, since one transaction may log several versions of one object.
_APPEND = insert(AuditPending).from_select(["entry"], select(_GIVEN.c.entry).order_by(_GIVEN.c.place))
_LOGGED = _APPEND.cte("logged")
_LOGGED_ONE = insert(AuditPending).values(entry=bindparam("entry", type_=NullType())).cte("logged")
_OF_SUBJECT = (
    select(AuditLeaf.index.label("place"), AuditLeaf.entry)
    .where(AuditLeaf.subject == bindparam("subject"), AuditLeaf.index < bindparam("size"))
    .order_by(AuditLeaf.index)
)
_PENDING_COUNT = select(
    (func.count() - func.count(AuditPending.refused)).label("waiting"),
    func.count(AuditPending.refused).label("refused"),
).select_from(AuditPending)
# The oldest by id, which the database assigns when the entry is written, so that the table isn't read for it.
_OLDEST_AGE = (
    select(func.date_part("epoch", func.clock_timestamp() - AuditPending.created_at))
    .where(AuditPending.refused.is_(None))
    .order_by(AuditPending.id)
    .limit(1)
)


def append(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Log entries in the caller's transaction, so that they are committed together with their changes.

    One statement for any number; takes no lock that another writer waits for.
    """
    if entries:
        execute(connection, _APPEND, {"entries": BinaryArray(entry.encode() for entry in entries)})


def append_with(
    connection: Connection,
    entries: Sequence[AuditEntry],
    statement: UpdateBase | Select[int],
    values: Mapping[str, object],
) -> Result:
    """Log entries and execute their change in one statement: half the cost of two on a busy store.

    `statement` is a module constant: an INSERT, UPDATE or DELETE, or a SELECT with such a statement in its WITH
    clause. `values` has no name `entry` or `entries`.
    """
    one = len(entries) == 1
    logged: Mapping[str, object] = (
        {"entry": entries[0].encode()} if one else {"entries": BinaryArray([e.encode() for e in entries])}
    )
    return execute(connection, _logging(statement, one), {**values, **logged})


@lru_cache(maxsize=256)
def _logging(statement: UpdateBase | Select[int], one: bool) -> UpdateBase | Select[int]:
    return statement.add_cte(_LOGGED_ONE if one else _LOGGED)


def proven_entries(connection: Connection, subject: str, checkpoint: Checkpoint) -> tuple[ProvenEntry, ...]:
    """Return all entries of one request in a signed tree, oldest first, each with a verified proof.

    Entries that the checkpoint doesn't cover yet are not among them: run `sequence_audit(checkpoint_now=True)` first.
    Raises EvidenceRemoved where the first of them were removed after their retention, because the others prove only the
    end of the request's work. Raises AuditLogBroken where bytes, stored hashes and the checkpoint don't agree.
    """
    pruned = pruned_prefix(connection)
    rows = execute(connection, _OF_SUBJECT, {"subject": subject, "size": checkpoint.size}).all()
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
    """Return how many entries wait for the sequencer, and how many it refused.

    Each refused entry needs a human.
    """
    row = execute(connection, _PENDING_COUNT).one()
    return row.waiting, row.refused


def oldest_pending_seconds(connection: Connection) -> float:
    """Return the sequencer's lag: the age of the oldest entry that waits for it, 0 if none does.

    A refused entry doesn't wait.
    """
    ages = execute(connection, _OLDEST_AGE).scalars()
    return max(ages[0], 0.0) if ages else 0.0


def _position_of(entry: ProvenEntry) -> Position:
    try:
        return position_of(entry.raw)
    except NotAuditable:
        raise AuditLogBroken("not_an_entry", f"leaf {entry.index}") from None
