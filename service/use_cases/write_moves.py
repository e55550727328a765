"""Write what became of the steps of one leased batch: rows, counters and entries in one statement for all of them.

Decides nothing: where each step goes, and what the entry says, is the caller's, who holds the rows' locks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.audit_shapes import AuditValue
from service.domain.outcomes import Next
from service.storage.audit_log import append_with
from service.storage.changes import Change, chain_entries
from service.storage.packed import Packed, counted, listed
from service.storage.rows import version_of


@dataclass(frozen=True)
class Findings:
    """What a search found for one step, as its row keeps it: sealed record ids, keyed hashes, counts per object."""

    records: bytes | None = field(repr=False)
    hashes: tuple[bytes, ...] = field(repr=False)
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Moved:
    """A locked step (with its request's subject), where it goes, and what the log says about it.

    `batch_id`: the batch that it stays in. `had_effect`: something may have happened in the system just now.
    """

    row: Row[Any]
    move: Next
    said: Mapping[str, AuditValue]
    batch_id: UUID | None = None
    had_effect: bool = False
    not_covered: Sequence[str] = ()
    findings: Findings | None = None


_FOUND = (
    " located = s.located OR n.found,"
    # A human's word that doubtful records are the person's holds for one search: what a later one finds was not seen.
    " records_accepted = s.records_accepted AND NOT n.found,"
    " records = CASE WHEN n.found THEN n.records ELSE s.records END,"
    " record_hashes = CASE WHEN n.found THEN CAST(n.hashes AS bytea[]) ELSE s.record_hashes END,"
    " counts = coalesce(n.counts, s.counts),"
)
# What is null in the arrays stays as it is.
_MOVE = (
    "UPDATE steps s SET{found} phase = n.phase, state = n.state, reason = n.reason, due_at = n.due_at, tries = n.tries,"
    " rounds = n.rounds, effect_possible = n.effect_possible,"
    " effect_at = CASE WHEN n.had_effect THEN CAST(:now AS timestamptz) ELSE s.effect_at END,"
    " erased = coalesce(n.erased, s.erased), left_over = coalesce(n.left_over, s.left_over), retained = n.retained,"
    " not_covered = CASE WHEN n.not_covered IS NULL THEN s.not_covered"
    " ELSE ARRAY(SELECT jsonb_array_elements_text(n.not_covered)) END, batch_id = n.batch_id,"
    " ended_at = CASE WHEN n.ended THEN CAST(:now AS timestamptz) END, version = s.version + 1, entry_hash = n.hash"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[]), CAST(:phases AS text[]), CAST(:states AS text[]),"
    " CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]), CAST(:tries AS integer[]), CAST(:rounds AS integer[]),"
    " CAST(:possible AS boolean[]), CAST(:effects AS boolean[]), CAST(:erased AS jsonb[]), CAST(:left AS jsonb[]),"
    " CAST(:retained AS text[]), CAST(:not_covered AS jsonb[]), CAST(:batches AS uuid[]), CAST(:ended AS boolean[])"
    "{arrays}) AS n(id, hash, phase, state, reason, due_at, tries, rounds, effect_possible, had_effect, erased,"
    " left_over, retained, not_covered, batch_id, ended{columns}) WHERE s.id = n.id"
)
_MOVE_ONLY = _MOVE.format(found="", arrays="", columns="")
_MOVE_AND_FOUND = _MOVE.format(
    found=_FOUND,
    arrays=", CAST(:found AS boolean[]), CAST(:records AS bytea[]), CAST(:record_hashes AS text[]),"
    " CAST(:counts AS jsonb[])",
    columns=", found, records, hashes, counts",
)


def write_moves(connection: Connection, moved: Sequence[Moved], now: datetime) -> None:
    """Every step's new place, with one entry each."""
    if not moved:
        return
    changes = [
        Change(
            "step",
            str(each.row.id),
            version_of(each.row),
            "step_ended" if each.move.has_ended else "step_answered",
            each.row.subject,
            each.said,
        )
        for each in moved
    ]
    entries, versions = chain_entries(changes, actor="worker", at=now)
    values = _places(moved, now) | {"hashes": Packed(version.entry_hash for version in versions.values())}
    statement = _MOVE_ONLY
    if any(each.findings is not None for each in moved):
        statement = _MOVE_AND_FOUND
        values |= _found([each.findings for each in moved])
    append_with(connection, entries, statement, values)


def _places(moved: Sequence[Moved], now: datetime) -> dict[str, Any]:
    moves = [each.move for each in moved]
    return {
        "now": now,
        "ids": listed(each.row.id for each in moved),
        "phases": Packed(m.phase for m in moves),
        "states": Packed(m.state for m in moves),
        "reasons": Packed(m.reason for m in moves),
        "dues": Packed(None if m.due_at is None else m.due_at.isoformat() for m in moves),
        "tries": counted(m.tries for m in moves),
        "rounds": counted(m.rounds for m in moves),
        "possible": counted(m.effect_possible for m in moves),
        "effects": counted(each.had_effect for each in moved),
        "erased": Packed(_erased(each) for each in moved),
        "left": Packed(_left_over(each) for each in moved),
        "retained": Packed(m.retained for m in moves),
        "not_covered": Packed(_not_covered(each) for each in moved),
        "batches": Packed(None if each.batch_id is None else str(each.batch_id) for each in moved),
        "ended": counted(m.has_ended for m in moves),
    }


def _found(findings: Sequence[Findings | None]) -> dict[str, Any]:
    return {
        "found": counted(each is not None for each in findings),
        "records": Packed(None if each is None else each.records for each in findings),
        "record_hashes": Packed(None if each is None else _array_text(each.hashes) for each in findings),
        "counts": Packed(None if each is None else json.dumps(dict(each.counts)) for each in findings),
    }


def _array_text(hashes: Sequence[bytes]) -> str:
    """An array of bytes as the server spells it: an array of arrays can't be taken apart row by row."""
    return "{" + ",".join(f'"\\\\x{one.hex()}"' for one in hashes) + "}"


def _erased(each: Moved) -> str | None:
    more, before = each.move.erased, each.row.erased or {}
    if not more:
        return None
    return json.dumps({name: before.get(name, 0) + more.get(name, 0) for name in {*before, *more}})


def _left_over(each: Moved) -> str | None:
    # What was kept on purpose stays named until the step ends.
    before = each.row.left_over or {}
    left = dict(each.move.left_over) or (before if each.move.retained else {})
    return None if left == before else json.dumps(left)


def _not_covered(each: Moved) -> str | None:
    known = set(each.row.not_covered or ())
    return None if known.issuperset(each.not_covered) else json.dumps(sorted(known.union(each.not_covered)))
