"""Write what became of the steps of one leased batch: rows, counters and entries in one statement for all of them.

Decides nothing: where each step goes, and what the entry says, is the caller's, who holds the rows' locks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row

from service.domain.audit.schema import AuditValue
from service.domain.execution.states import Transition
from service.store.arrays import Packed, counted, listed
from service.store.audit_log.log import append_with
from service.store.audit_log.record_change import Change, chain_entries
from service.store.locking import version_of


@dataclass(frozen=True)
class Findings:
    """What a search found for one step, as its row keeps it: sealed record ids, keyed hashes, counts per object."""

    records: bytes | None = field(repr=False)
    hashes: tuple[bytes, ...] = field(repr=False)
    counts: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Place:
    """Where steps go, and what the log says about it; many steps of a batch may share one.

    `batch_id`: the batch that they stay in. `had_effect`: something may have happened in the system just now.
    """

    move: Transition
    said: Mapping[str, AuditValue]
    batch_id: UUID | None = None
    had_effect: bool = False
    not_covered: Sequence[str] = ()


class Moved(NamedTuple):
    """A locked step (with its request's subject), and where it goes.

    Steps that share a place had nothing erased, left over or not covered before.
    """

    row: Row[Any]
    place: Place
    findings: Findings | None = None


_FOUND = (
    " located = s.located OR n.found,"
    # A human's word that doubtful records are the person's holds for one search: what a later one finds was not seen.
    " records_accepted = s.records_accepted AND NOT n.found,"
    " records = CASE WHEN n.found THEN n.records ELSE s.records END,"
    " record_hashes = CASE WHEN n.found THEN CAST(n.hashes AS bytea[]) ELSE s.record_hashes END,"
    " counts = coalesce(n.counts, s.counts),"
)
# What is null in a place stays as it is.
_MOVE = (
    "UPDATE steps s SET{found} phase = p.phase, state = p.state, reason = p.reason, due_at = p.due_at, tries = p.tries,"
    " rounds = p.rounds, effect_possible = p.effect_possible,"
    " effect_at = CASE WHEN p.had_effect THEN CAST(:now AS timestamptz) ELSE s.effect_at END,"
    " erased = coalesce(p.erased, s.erased), left_over = coalesce(p.left_over, s.left_over), retained = p.retained,"
    " not_covered = coalesce(p.not_covered, s.not_covered), batch_id = p.batch_id,"
    " ended_at = CASE WHEN p.ended THEN CAST(:now AS timestamptz) END, version = s.version + 1, entry_hash = n.hash"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[]), CAST(:of AS integer[]){arrays})"
    " AS n(id, hash, place{columns})"
    " JOIN jsonb_to_recordset(CAST(:places AS jsonb)) AS p(place integer, phase text, state text, reason text,"
    " due_at timestamptz, tries integer, rounds integer, effect_possible boolean, had_effect boolean, erased jsonb,"
    " left_over jsonb, retained text, not_covered text[], batch_id uuid, ended boolean) USING (place)"
    " WHERE s.id = n.id"
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
            str(row.id),
            version_of(row),
            "step_ended" if place.move.has_ended else "step_answered",
            row.subject,
            place.said,
        )
        for row, place, _ in moved
    ]
    entries, versions = chain_entries(changes, actor="worker", at=now)
    values = _places(moved, now) | {"hashes": Packed([version.entry_hash for version in versions.values()])}
    statement = _MOVE_ONLY
    if any(each.findings is not None for each in moved):
        statement = _MOVE_AND_FOUND
        values |= _found([each.findings for each in moved])
    append_with(connection, entries, statement, values)


def _places(moved: Sequence[Moved], now: datetime) -> dict[str, Any]:
    """Each step's id and the number of its place; each place once."""
    numbers: dict[int, int] = {}
    places: list[dict[str, Any]] = []
    for each in moved:
        if id(each.place) not in numbers:
            number = numbers[id(each.place)] = len(places)
            places.append({"place": number, **_columns(each)})
    return {
        "now": now,
        "ids": listed(each.row.id for each in moved),
        "of": counted(numbers[id(each.place)] for each in moved),
        "places": json.dumps(places),
    }


def _columns(each: Moved) -> dict[str, Any]:
    place, move = each.place, each.place.move
    return {
        "phase": move.phase,
        "state": move.state,
        "reason": move.reason,
        "due_at": None if move.due_at is None else move.due_at.isoformat(),
        "tries": move.tries,
        "rounds": move.rounds,
        "effect_possible": move.effect_possible,
        "had_effect": place.had_effect,
        "erased": _erased(each),
        "left_over": _left_over(each),
        "retained": move.retained,
        "not_covered": _not_covered(each),
        "batch_id": None if place.batch_id is None else str(place.batch_id),
        "ended": move.has_ended,
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


def _erased(each: Moved) -> dict[str, int] | None:
    more, before = each.place.move.erased, each.row.erased or {}
    if not more:
        return None
    return {name: before.get(name, 0) + more.get(name, 0) for name in {*before, *more}}


def _left_over(each: Moved) -> dict[str, int] | None:
    # What was kept on purpose stays named until the step ends.
    before = each.row.left_over or {}
    left = dict(each.place.move.left_over) or (before if each.place.move.retained else {})
    return None if left == before else left


def _not_covered(each: Moved) -> list[str] | None:
    known = set(each.row.not_covered or ())
    return None if known.issuperset(each.place.not_covered) else sorted(known.union(each.place.not_covered))
