"""What is true after a run, as only the stand-in can know, and whether the evidence says the same.

Decides what counts as a violation and names it; the tests decide what a run was put through. A violation is a word and
the objects concerned: `residue` (something of the person stands somewhere), `bystanders` (somebody else's record is
gone or changed), `unnamed` (a record of the person stays, tied to them, and the evidence doesn't say so), `untrue`
(the evidence names a record that isn't there), `counts` (it counts other numbers of records than vanished),
`outcome` (called erased or absent although something stays).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from connectors.base.runner import Line, Outcome
from connectors.salesforce.sandbox.server import SalesforceSandbox

from .world import Person, residue

# Rows that the org makes by itself and takes away with their record: they are no records to be counted.
_HALF = "a person account's contact"
_UNCOUNTED = frozenset(
    {"CaseHistory", "ContactHistory", "LeadHistory", "IndividualHistory", "ContactShare", "ProcessInstance", _HALF}
)
_OVER = (Outcome.ERASED_VERIFIED, Outcome.ERASED_UNVERIFIED, Outcome.ABSENT, Outcome.RETAINED)


class GodsView:
    """Everything before the run; ask for violations afterwards."""

    def __init__(self, sandbox: SalesforceSandbox, *people: Person) -> None:
        self._sandbox = sandbox
        self._people = {person.ref: person for person in people}
        self._before = sandbox.snapshot(set(self._people))
        sandbox.advance()
        self._theirs = {
            ref: {row["Id"]: _kind(name, row) for name, row in sandbox.store.rows() if row.get("@person") == ref}
            for ref in self._people
        }

    def violations(self, *lines: Line) -> dict[str, list[str]]:
        """By word. An unfinished run may leave records, but only such as the evidence names."""
        found: dict[str, list[str]] = {}
        self._sandbox.advance()
        if changed := self._sandbox.changed_bystanders(self._before):
            found["bystanders"] = sorted({f"{c['object']}.{c['field']}" for c in changed})
        for line in lines:
            for word, told in self._of_person(line).items():
                if told:
                    found.setdefault(word, []).extend(told)
        return found

    def _of_person(self, line: Line) -> dict[str, list[str]]:
        person, theirs = self._people[line.subject], self._theirs[line.subject]
        for record_id, ref in self._sandbox.state["marks"].items():
            found = self._sandbox.schema.of_id(record_id)
            if ref == line.subject and found is not None:
                theirs.setdefault(record_id, found.name)  # came in during the run
        rows: dict[str, dict[str, Any]] = {row["Id"]: row for _, row in self._sandbox.store.rows()}
        named = {each.id for each in line.left}
        left = residue(self._sandbox, person)
        related = [i for i in theirs if i in rows and i not in named and self._is_related(rows[i], theirs)]
        gone = Counter(name for i, name in theirs.items() if i not in rows and name not in _UNCOUNTED)
        told = {name: count for name, count in line.records.items() if name not in _UNCOUNTED}
        over = line.outcome in _OVER
        is_counted = over or line.outcome is Outcome.PARKED
        # What stays without its relation or its values counts as an effect, too; what was refused doesn't.
        changed = self._untied(theirs, rows) + Counter(each.object for each in line.left if over)
        differing = sorted(
            f"{name}: {told.get(name, 0)} told, {gone[name]} gone"
            for name in {*told, *gone}
            if is_counted and not gone[name] <= told.get(name, 0) <= gone[name] + changed[name]
        )
        return {
            "residue": [row["object"] for row in left if over or row["id"] not in named],
            "unnamed": sorted(theirs[i] for i in related),
            "untrue": sorted(each.object for each in line.left if each.id not in rows),
            "counts": differing,
            "outcome": [line.outcome.value] if over and any(row["id"] not in named for row in left) else [],
        }

    def _untied(self, theirs: dict[str, str], rows: dict[str, dict[str, Any]]) -> Counter[str]:
        """Other people's records that named the person and don't any more."""
        found: Counter[str] = Counter()
        for record_id, old in self._before["rows"].items():
            new = rows.get(record_id)
            lost = new is not None and any(
                v in theirs and new.get(k) != v for k, v in old.items() if isinstance(v, str)
            )
            name = self._sandbox.schema.of_id(record_id)
            if lost and name is not None:
                found[name.name] += 1
        return found

    @staticmethod
    def _is_related(row: dict[str, Any], theirs: dict[str, str]) -> bool:
        return any(value in theirs for name, value in row.items() if name != "Id" and isinstance(value, str))


def _kind(name: str, row: dict[str, Any]) -> str:
    """A person account's contact is half of one record."""
    return _HALF if name == "Contact" and row.get("IsPersonAccount") else name
