"""Compare all records of the demo's systems before and after the erasure.

Decides the owner of a record and what counts as changed. It reads the stand-ins and the warehouse file directly
and not through the service, so that it can contradict the service's claims.
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import httpx

from connectors.testing.sandbox.sample_warehouse import HeldRows, held_rows, remains
from connectors.testing.sandbox.sample_world import SamplePerson
from service.cli.demo.world import MAILING, ORG, SUPPORT_ACCOUNTS, DemoWorld

WAREHOUSE = "warehouse"
_STAND_INS = (*SUPPORT_ACCOUNTS, MAILING, ORG)
_LOCKED_SECONDS = 30.0
# A stand-in sets these by itself when a neighbouring record is deleted.
_CLOCKED = frozenset({"SystemModstamp", "LastModifiedDate"})

_Key = tuple[str, str]
_Wanted = TypeVar("_Wanted")
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class SystemLook:
    """All records of one stand-in by kind and id, and which of them belong to the people to be erased."""

    rows: Mapping[_Key, Mapping[str, object]]
    owned: frozenset[_Key]


@dataclass(frozen=True)
class Look:
    """One look at all systems."""

    stand_ins: Mapping[str, SystemLook]
    warehouse: Mapping[str, HeldRows]


@dataclass(frozen=True)
class Line:
    """The numbers of one kind of record in one system: of the erased people and of all others.

    `changed`: whether a record of another person is gone or has other content than before.
    """

    system: str
    kind: str
    theirs_before: int
    theirs_after: int
    others_before: int
    others_after: int
    changed: bool = False


class Records:
    """Looks at the systems of a demo company. `people` are those to be erased."""

    def __init__(self, demo: DemoWorld, sandbox_port: int, people: Sequence[SamplePerson]) -> None:
        self._demo, self._port, self._people = demo, sandbox_port, people
        self._values = sorted({value for person in people for value in person.residue_values})

    def look(self) -> Look:
        """Read every record of every system."""
        return Look({name: self._look_at(name) for name in _STAND_INS}, self._unlocked(held_rows, self._people))

    def residue(self) -> int:
        """Count the records, in all systems, in which an identifier of the erased people stands anywhere."""
        in_stand_ins = sum(len(self._ask(name, "residue")) for name in _STAND_INS)
        in_warehouse = self._unlocked(remains, self._values)
        return in_stand_ins + sum(in_warehouse.values())

    def _look_at(self, name: str) -> SystemLook:
        rows = {_key(row): row for row in self._ask(name, "records")}
        return SystemLook(rows, frozenset(_key(row) for row in self._ask(name, "owned")))

    def _ask(self, name: str, control: str) -> list[dict[str, object]]:
        response = httpx.request(
            "GET" if control == "records" else "POST",
            f"http://127.0.0.1:{self._port}/{name}/__sandbox__/{control}",
            json=None if control == "records" else self._values,
            headers={"x-sandbox-token": self._demo.control_token},
            timeout=60.0,
            trust_env=False,
        )
        response.raise_for_status()
        rows: list[dict[str, object]] = response.json()
        return rows

    def _unlocked(self, look: Callable[[Path, _Wanted], _Found], wanted: _Wanted) -> _Found:
        """Look at the warehouse file. A worker that has it open locks it, for as long as its work takes."""
        until = time.monotonic() + _LOCKED_SECONDS
        while True:
            try:
                return look(self._demo.warehouse, wanted)
            except duckdb.IOException:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)


def compare(before: Look, after: Look) -> list[Line]:
    """Lines by system and kind, in the systems' order; kinds that the erasure itself made are left out."""
    lines = [
        Line(WAREHOUSE, table, old.theirs, new.theirs, old.others, new.others, old.others_hash != new.others_hash)
        for table, old, new in ((name, old, after.warehouse[name]) for name, old in before.warehouse.items())
    ]
    for name, old in before.stand_ins.items():
        lines += _compare_stand_in(name, old, after.stand_ins[name])
    return lines


def _compare_stand_in(name: str, before: SystemLook, after: SystemLook) -> list[Line]:
    left = {key for key in before.owned if key in after.rows and not _is_emptied(after.rows[key])} | after.owned
    others = before.rows.keys() - before.owned
    gone_ids = {record_id for _, record_id in before.owned}
    theirs_before, theirs_after = _kinds(before.owned), _kinds(left)
    others_before, others_after = _kinds(others), _kinds(others & after.rows.keys())
    changed = {key[0] for key in others if _differs(before.rows[key], after.rows.get(key), gone_ids)}
    kinds = sorted({*theirs_before, *theirs_after, *others_before})
    return [
        Line(name, k, theirs_before[k], theirs_after[k], others_before[k], others_after[k], k in changed) for k in kinds
    ]


def write_csv(lines: Sequence[Line], path: Path) -> None:
    """One row per system, kind of record and whose they are."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("system", "record", "whose", "before", "after"))
        for line in lines:
            writer.writerow((line.system, line.kind, "erased people", line.theirs_before, line.theirs_after))
            writer.writerow((line.system, line.kind, "everybody else", line.others_before, line.others_after))


def _key(row: Mapping[str, object]) -> _Key:
    return str(row["object"]), str(row["id"])


def _kinds(keys: Iterable[_Key]) -> Counter[str]:
    return Counter(kind for kind, _ in keys)


def _is_emptied(row: Mapping[str, object]) -> bool:
    """Zendesk keeps a row without values for a user who is deleted for good."""
    return bool(row.get("permanently_deleted"))


def _differs(old: Mapping[str, object], new: Mapping[str, object] | None, gone_ids: set[str]) -> bool:
    """Return whether a record changed; an emptied reference to an erased record doesn't count."""
    if new is None:
        return True
    fields = {*old, *new} - _CLOCKED
    return any(old.get(name) != new.get(name) and str(old.get(name)) not in gone_ids for name in fields)
