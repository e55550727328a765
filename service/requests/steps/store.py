"""Write steps: each change of state with its audit entry, in one statement.

Decides nothing: `service.domain.execution.decide` chooses a step's transition, and the caller holds the rows' locks.
`starts.py` writes the start of a plan's steps, `schedule.py` the columns that the audit log doesn't record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    TableValuedAlias,
    Text,
    Update,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import NullType

from connectors.base.transitions.results import remaining_counts
from connectors.base.transitions.states import Membership, Phase, StepFacts, StepState, Transition
from service.domain.audit.schema import AuditValue
from service.requests.steps.rows import LockedStep, WholeStep
from service.store.arrays import (
    BinaryArray,
    array_parameter,
    bool_array,
    int_array,
    uuid_array,
)
from service.store.audit_log.log import append_with
from service.store.audit_log.record_change import Change, chain_entries
from service.store.locking import version_of
from service.store.tables.work import BatchRow, StepRow


@dataclass(frozen=True)
class Findings:
    """A search's findings in a step's row: sealed record ids, keyed hashes, counts per object."""

    records: bytes | None = field(repr=False)
    hashes: tuple[bytes, ...] = field(repr=False)
    counts: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Entry:
    """A transition with its audit entry; many steps of a batch may share one.

    `batch_id`: the batch that the steps move to, where the transition doesn't say that they stay in theirs.
    `plan_version`: the plan that a step enters with it.
    """

    to: Transition
    event: str
    data: Mapping[str, AuditValue]
    batch_id: UUID | None = None
    plan_version: int | None = None
    not_covered: Sequence[str] = ()


class StepTransition(NamedTuple):
    """A locked step, its request's pseudonym, and where it goes."""

    step: LockedStep
    subject: str
    entry: Entry
    findings: Findings | None = None


_Values: TypeAlias = dict[InstrumentedAttribute[object], object]

# A null in an entry leaves its column unchanged. Many steps share an entry, so that it is sent once for all of them.
_ENTRY_COLUMNS = (
    column("entry", Integer),
    column("phase", Text),
    column("state", Text),
    column("reason", Text),
    column("due_at", DateTime(timezone=True)),
    column("consecutive_attempts", Integer),
    column("plan_rounds", Integer),
    column("effect_possible", Boolean),
    column("had_effect", Boolean),
    column("erased", JSONB),
    column("remaining", JSONB),
    column("retained", Text),
    column("not_covered", ARRAY(Text)),
    column("waits_for_order", Boolean),
    column("plan_version", Integer),
    column("membership", Text),
    column("batch_id", Uuid),
    column("ended", Boolean),
    column("accepts_records", Boolean),
)
_ENTRIES = (
    func.jsonb_to_recordset(cast(bindparam("entries_of_steps", type_=NullType()), JSONB))
    .table_valued(*_ENTRY_COLUMNS)
    .render_derived(name="e", with_types=True)
)


def _steps_parameter(*, with_findings: bool) -> TableValuedAlias:
    """Return the statement's steps, one row each: id, new hash, number of its entry, findings."""
    arrays = [
        array_parameter("ids", Uuid()),
        array_parameter("hashes", LargeBinary()),
        array_parameter("of", Integer()),
    ]
    columns = [column("id", Uuid), column("hash", LargeBinary), column("entry", Integer)]
    if with_findings:
        arrays += [array_parameter("found", Boolean()), array_parameter("records", LargeBinary())]
        arrays += [array_parameter("record_hashes", Text()), array_parameter("counts", JSONB())]
        columns += [column("found", Boolean), column("records", LargeBinary)]
        columns += [column("record_hashes", Text), column("counts", JSONB)]
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="n")


def _write(*, with_findings: bool) -> Update:
    """Return the statement that writes transitions, with the findings of searches or without."""
    n, e = _steps_parameter(with_findings=with_findings), _ENTRIES
    values = _transition_values(e) | {StepRow.version: StepRow.version + 1, StepRow.entry_hash: n.c.hash}
    if with_findings:
        values |= _finding_values(n)
    return update(StepRow).values(values).where(StepRow.id == n.c.id, e.c.entry == n.c.entry)


def _transition_values(e: TableValuedAlias) -> _Values:
    now = cast(bindparam("now", type_=NullType()), DateTime(timezone=True))
    open_batch = (
        select(BatchRow.id)
        .where(BatchRow.id == StepRow.batch_id, BatchRow.ended_at.is_(None), BatchRow.phase == e.c.phase)
        .scalar_subquery()
    )
    return {
        StepRow.phase: e.c.phase,
        StepRow.state: e.c.state,
        StepRow.reason: e.c.reason,
        StepRow.due_at: e.c.due_at,
        StepRow.consecutive_attempts: e.c.consecutive_attempts,
        StepRow.plan_rounds: e.c.plan_rounds,
        StepRow.effect_possible: e.c.effect_possible,
        StepRow.effect_at: case((e.c.had_effect, now), else_=StepRow.effect_at),
        StepRow.erased: func.coalesce(e.c.erased, StepRow.erased),
        StepRow.remaining: func.coalesce(e.c.remaining, StepRow.remaining),
        StepRow.retained: e.c.retained,
        StepRow.not_covered: func.coalesce(e.c.not_covered, StepRow.not_covered),
        StepRow.waits_for_order: func.coalesce(e.c.waits_for_order, StepRow.waits_for_order),
        StepRow.plan_version: func.coalesce(StepRow.plan_version, e.c.plan_version),
        StepRow.batch_id: case(
            (e.c.membership == Membership.LEAVES.value, e.c.batch_id),
            (e.c.membership == Membership.STAYS.value, func.coalesce(e.c.batch_id, StepRow.batch_id)),
            else_=open_batch,
        ),
        StepRow.ended_at: case((e.c.ended, now), else_=null()),
        StepRow.records_accepted: or_(StepRow.records_accepted, e.c.accepts_records),
    }


def _finding_values(n: TableValuedAlias) -> _Values:
    return {
        StepRow.located: or_(StepRow.located, n.c.found),
        # A person's decision that doubtful records are the data subject's holds for one search: what a later
        # search finds was not seen.
        StepRow.records_accepted: StepRow.records_accepted & ~n.c.found,
        StepRow.records: case((n.c.found, n.c.records), else_=StepRow.records),
        StepRow.record_hashes: case(
            (n.c.found, cast(n.c.record_hashes, ARRAY(LargeBinary))), else_=StepRow.record_hashes
        ),
        StepRow.counts: func.coalesce(n.c.counts, StepRow.counts),
    }


_WRITE = _write(with_findings=False)
_WRITE_WITH_FINDINGS = _write(with_findings=True)


def apply_transitions(
    connection: Connection, transitions: Sequence[StepTransition], *, actor: str, at: datetime
) -> None:
    """Write every step's transition and its audit entry, in one statement for all of them.

    The caller holds the rows' locks. `at`: the database's clock behind these locks.
    """
    if not transitions:
        return
    changes = [
        Change("step", str(each.step.id), version_of(each.step), each.entry.event, each.subject, each.entry.data)
        for each in transitions
    ]
    entries, versions = chain_entries(changes, actor=actor, at=at)
    values = _values(transitions, at) | {"hashes": BinaryArray([version.entry_hash for version in versions.values()])}
    statement = _WRITE
    if any(each.findings is not None for each in transitions):
        statement = _WRITE_WITH_FINDINGS
        values |= _found([each.findings for each in transitions])
    append_with(connection, entries, statement, values)


def _values(transitions: Sequence[StepTransition], now: datetime) -> dict[str, object]:
    """Each step's id and the number of its entry; each entry once for all steps that had no counts before."""
    numbers: dict[tuple[int, UUID | None], int] = {}
    entries: list[dict[str, object]] = []
    of: list[int] = []
    for each in transitions:
        step = each.step
        key = (id(each.entry), step.id if step.erased or step.remaining or step.not_covered else None)
        number = numbers.get(key)
        if number is None:
            number = numbers[key] = len(entries)
            entries.append({"entry": number, **_columns(each)})
        of.append(number)
    return {
        "now": now,
        "ids": uuid_array(each.step.id for each in transitions),
        "of": int_array(of),
        "entries_of_steps": json.dumps(entries),
    }


def _columns(each: StepTransition) -> dict[str, object]:
    entry, to = each.entry, each.entry.to
    return {
        "phase": to.phase,
        "state": to.state,
        "reason": to.reason,
        "due_at": None if to.due_at is None else to.due_at.isoformat(),
        "consecutive_attempts": to.consecutive_attempts,
        "plan_rounds": to.plan_rounds,
        "effect_possible": to.effect_possible,
        "had_effect": to.had_effect,
        "erased": _erased(each),
        "remaining": _remaining(each),
        "retained": to.retained,
        "not_covered": _not_covered(each),
        "waits_for_order": to.waits_for_order,
        "plan_version": entry.plan_version,
        "membership": to.membership,
        "batch_id": None if entry.batch_id is None else str(entry.batch_id),
        "ended": to.has_ended,
        "accepts_records": to.accepts_records,
    }


def _found(findings: Sequence[Findings | None]) -> dict[str, object]:
    return {
        "found": bool_array(each is not None for each in findings),
        "records": BinaryArray(None if each is None else each.records for each in findings),
        "record_hashes": BinaryArray(None if each is None else _array_text(each.hashes) for each in findings),
        "counts": BinaryArray(None if each is None else json.dumps(dict(each.counts)) for each in findings),
    }


def _array_text(hashes: Sequence[bytes]) -> str:
    """An array of bytes as the server spells it: an array of arrays can't be taken apart row by row."""
    return "{" + ",".join(f'"\\\\x{one.hex()}"' for one in hashes) + "}"


def _erased(each: StepTransition) -> dict[str, int] | None:
    more, before = each.entry.to.erased, each.step.erased or {}
    if not more:
        return None
    return {name: before.get(name, 0) + more.get(name, 0) for name in {*before, *more}}


def _remaining(each: StepTransition) -> dict[str, int] | None:
    before = each.step.remaining or {}
    left = remaining_counts(before, each.entry.to)
    return None if left == before else left


def _not_covered(each: StepTransition) -> list[str] | None:
    known = set(each.step.not_covered or ())
    return None if known.issuperset(each.entry.not_covered) else sorted(known.union(each.entry.not_covered))


MARK_LEASED = (
    update(StepRow)
    .where(StepRow.id == func.any(array_parameter("ids", Uuid())))
    .values(
        {
            StepRow.state: StepState.LEASED.value,
            StepRow.batch_id: bindparam("batch", type_=Uuid()),
            StepRow.attempts: StepRow.attempts + 1,
            StepRow.consecutive_attempts: StepRow.consecutive_attempts + 1,
            StepRow.due_at: null(),
        }
    )
)
"""Mark the steps `ids` as leased in `batch`. The lease's entry tells of all of them."""


def facts_of(step: WholeStep) -> StepFacts:
    """Return the facts of a locked step's whole row that the rule reads, outside a lease's result."""
    return StepFacts(
        phase=Phase(step.phase),
        consecutive_attempts=step.consecutive_attempts,
        plan_rounds=step.plan_rounds,
        effect_possible=step.effect_possible,
        frozen=step.plan_version is not None,
        retained=step.retained,
        state=StepState(step.state),
        reason=step.reason,
        located=step.located,
        waits_for_order=step.waits_for_order,
        due_at=step.due_at,
    )
