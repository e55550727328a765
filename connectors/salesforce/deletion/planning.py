"""What happens to each record of one batch, and in which order. Pure: reads the look, writes nothing.

Order: what restricts goes before what it restricts, children before parents, the roots last. What the vendor deletes
along with its parent isn't deleted by a call of its own, but is remembered and looked for.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.base.values import Left
from connectors.salesforce.deletion.anonymising import anonymised
from connectors.salesforce.deletion.dependents import DOCUMENT, LINK, VERSION, Key, Row
from connectors.salesforce.deletion.root_search import person_fields
from connectors.salesforce.org.schema import CONTACT, INDIVIDUAL, LEAD, MAIL, USER, Relation, Schema
from connectors.salesforce.policy import Action, SalesforcePolicy


@dataclass(frozen=True)
class Change:
    """New values of one record, written before anything is deleted."""

    key: Key = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    owners: frozenset[str]


@dataclass
class Plan:
    """What is to be done. `explicit` is in the order of deletion; `along` goes with its parents."""

    changes: list[Change] = field(default_factory=list)
    explicit: list[tuple[Key, frozenset[str]]] = field(default_factory=list)
    along: dict[Key, frozenset[str]] = field(default_factory=dict)
    left: dict[str, list[Left]] = field(default_factory=lambda: defaultdict(list))
    kept: dict[str, list[Left]] = field(default_factory=lambda: defaultdict(list))
    blocked_roots: set[Key] = field(default_factory=set)


class Planner:
    """Plans one batch. `mine`: ids of the roots of everybody in it, person accounts' contacts included.

    `binned`: those of them that are in the recycle bin. `copies`: fields of other records in which a value of theirs
    stands; where such a record turns out to be somebody else's, only these fields are emptied.
    """

    def __init__(
        self,
        schema: Schema,
        policy: SalesforcePolicy,
        rows: Mapping[Key, Row],
        mine: Iterable[Key],
        *,
        binned: Collection[Key] = (),
        copies: Mapping[Key, Collection[str]] | None = None,
    ) -> None:
        self._schema = schema
        self._policy = policy
        self._rows = rows
        self._roots = set(mine)
        self._binned = set(binned)
        self._copies = dict(copies or {})
        self._ids = {record_id for _, record_id in self._roots}
        prefixes = (schema.objects[n].prefix for n in (CONTACT, LEAD, INDIVIDUAL) if n in schema.objects)
        self._people_prefixes = tuple(p for p in prefixes if p)
        self._doomed: dict[Key, bool] = {}
        self._emptied: dict[Key, bool] = {}
        self._others: dict[Key, set[str]] = self._participants()
        self._links: dict[str, set[str]] = defaultdict(set)
        for row in rows.values():
            if row.object == LINK:
                self._links[str(row.values.get("ContentDocumentId"))].add(str(row.values.get("LinkedEntityId")))

    def plan(self, *, all_explicit: bool = False) -> Plan:
        """The plan for everything below the roots. `all_explicit`: nothing is left to cascades."""
        plan = Plan()
        for key, row in self._rows.items():
            if not self._hangs(row):
                continue
            if self._is_doomed(key):
                by_cascade = not all_explicit and self._goes_along(row) and not self._was_binned_alone(row)
                if by_cascade or not self._schema.objects[row.object].deletable:
                    plan.along[key] = frozenset(row.owners)
                else:
                    plan.explicit.append((key, frozenset(row.owners)))
            else:
                self._keep(row, plan)
        plan.explicit.sort(key=self._order())
        return plan

    def _hangs(self, row: Row) -> bool:
        """True if it hangs on a root, or on something that goes: not on what turned out to stay."""
        for relation, parent in row.parents:
            if parent in self._roots or self._is_doomed(parent) or self._is_emptied(parent):
                return True
            # A record reached upwards (a file through the version on a root) hangs where that version hangs.
            through = self._rows.get(parent)
            if relation is None and through is not None and through.object == VERSION and self._hangs(through):
                return True
        return False

    def _is_emptied(self, key: Key) -> bool:
        """True if the record stays without its values: what hangs on it tells of the person as much as it did."""
        row = self._rows.get(key)
        if row is None or key in self._roots or self._policy.rule(key[0]).action is not Action.ANONYMISE:
            return False
        if key not in self._emptied:
            self._emptied[key] = False  # breaks circles
            self._emptied[key] = self._hangs(row) and not self._is_shared(row)
        return self._emptied[key]

    def _is_doomed(self, key: Key) -> bool:
        """True if the record is to be deleted, by us or along with its parent."""
        if key in self._roots:
            return key[0] != USER and self._policy.rule(key[0]).action is Action.DELETE
        if key not in self._doomed:
            self._doomed[key] = False  # breaks circles: a record isn't doomed by itself
            row = self._rows.get(key)
            self._doomed[key] = row is not None and self._hangs(row) and self._may_go(row)
        return self._doomed[key]

    def _may_go(self, row: Row) -> bool:
        rule = self._policy.rule(row.object)
        # By default a business record loses its reference to a person; one that is the person's own goes with them.
        is_own = rule.is_default and rule.action is Action.UNLINK and self._goes_along(row)
        if rule.action is not Action.DELETE and not is_own:
            return False
        if row.object == DOCUMENT:
            return self._is_sole_document(row)
        if row.object == LINK:
            return any(r is not None and r.field == "LinkedEntityId" for r, _ in row.parents) or any(
                parent[0] == DOCUMENT and self._is_doomed(parent) for _, parent in row.parents
            )
        known = self._schema.objects[row.object]
        if not known.deletable and not self._goes_along(row):
            return False
        return not self._is_shared(row)

    def _is_sole_document(self, row: Row) -> bool:
        """True if everything that the file is linked to goes, users apart: an uploader's link is no second owner."""
        links = self._links.get(row.id, set())
        user_prefix = self._schema.objects[USER].prefix if USER in self._schema.objects else None
        for entity in links:
            key = (self._schema.object_of(entity) or "", entity)
            is_going = entity in self._ids or self._is_doomed(key) or self._is_emptied(key)
            if entity[:3] != user_prefix and not is_going:
                return False
        return bool(links)

    def _is_shared(self, row: Row) -> bool:
        """True if the record is somebody else's as well. Mails can't be edited: they go, whoever else they went to."""
        if row.object == MAIL or row.object.endswith("Relation"):
            return False
        return bool(self._strangers(row))

    def _strangers(self, row: Row) -> set[str]:
        named = {str(row.values[f]) for f in person_fields(self._schema.objects[row.object]) if row.values.get(f)}
        named |= self._others.get(row.key, set())
        return {i for i in named if i.startswith(self._people_prefixes) and i not in self._ids}

    def _participants(self) -> dict[Key, set[str]]:
        """Who else takes part in an activity, from its relation rows."""
        found: dict[Key, set[str]] = defaultdict(set)
        for row in self._rows.values():
            for relation, parent in row.parents:
                if relation is not None and row.object == f"{parent[0]}Relation" and row.values.get("RelationId"):
                    found[parent].add(str(row.values["RelationId"]))
        return found

    def _goes_along(self, row: Row) -> bool:
        """True if the vendor deletes it with a parent that goes, and nothing of it stands in that parent's way."""
        going = [r for r, parent in row.parents if r is not None and self._is_doomed(parent)]
        return any(r.cascades for r in going) and not any(r.restricts for r in going)

    def _was_binned_alone(self, row: Row) -> bool:
        """True if it was put into the recycle bin before its parents: it is an entry of its own there."""
        binned = self._binned | {key for _, key in row.parents if key in self._rows and self._rows[key].is_deleted}
        return row.is_deleted and not any(parent in binned for _, parent in row.parents)

    def _keep(self, row: Row, plan: Plan) -> None:
        """It stays: cut its ties to what goes, or say that they can't be cut."""
        known = self._schema.objects[row.object]
        if row.object in (DOCUMENT, LINK, VERSION) or row.object.endswith("Relation"):
            return
        rule = self._policy.rule(row.object)
        values: dict[str, Any] = {}
        if rule.action is Action.ANONYMISE and not self._is_shared(row):
            values |= anonymised(self._schema, row.object, row.id, self._policy.values)
        for name in self._copies.get(row.key, ()):
            if known.fields[name].updateable and known.fields[name].nillable:
                values[name] = None
            elif not self._refers_to_mine(row):
                # A value that follows from one of our roots goes with it; any other stays on somebody else's record.
                for ref in row.owners:
                    plan.left[ref].append(Left(row.object, row.id, "on_anothers_record"))
        for relation, parent in row.parents:
            if relation is None or not self._is_doomed(parent):
                continue
            facts = known.fields[relation.field]
            if facts.updateable and facts.nillable:
                values[relation.field] = self._successor(row, relation)
            elif relation.cascades or relation.restricts:
                plan.blocked_roots |= self._roots_above(parent)
                for ref in row.owners:
                    plan.left[ref].append(Left(row.object, row.id, "cannot_be_unlinked"))
        if values:
            plan.changes.append(Change(row.key, values, frozenset(row.owners)))
        if not known.deletable and rule.action is Action.DELETE and not self._is_shared(row):
            for ref in row.owners:
                plan.left[ref].append(Left(row.object, row.id, "not_deletable"))
        elif rule.action in (Action.RETAIN, Action.ANONYMISE):
            for ref in row.owners:
                plan.kept[ref].append(Left(row.object, row.id, rule.reason or rule.action.value))

    def _refers_to_mine(self, row: Row) -> bool:
        return any(row.values.get(f) in self._ids for f in person_fields(self._schema.objects[row.object]))

    def _successor(self, row: Row, relation: Relation) -> str | None:
        """A shared activity passes to another of its people; everything else simply loses the reference."""
        if relation.field != "WhoId":
            return None
        others = sorted(i for i in self._others.get(row.key, ()) if i in self._strangers(row))
        return others[0] if others else None

    def _roots_above(self, key: Key) -> set[Key]:
        if key in self._roots:
            return {key}
        row = self._rows.get(key)
        return set() if row is None else {k for _, parent in row.parents for k in self._roots_above(parent)}

    def _order(self) -> Any:
        """Sort key: height above the deepest explicit descendant first, then object and parent, so that types and
        children of one parent stay together."""
        depth: dict[Key, int] = {}

        def depth_of(key: Key, path: frozenset[Key]) -> int:
            if key in self._roots or key in path or key not in self._rows:
                return 0
            if key not in depth:
                above = [depth_of(parent, path | {key}) for r, parent in self._rows[key].parents if r is not None]
                depth[key] = 1 + max(above, default=0)
            return depth[key]

        def sort_key(entry: tuple[Key, frozenset[str]]) -> tuple[int, str, str, str]:
            (name, record_id), _ = entry
            parents = sorted(p[1] for _, p in self._rows[(name, record_id)].parents)
            return -depth_of((name, record_id), frozenset()), name, parents[0] if parents else "", record_id

        return sort_key


def plan_hash(plan: Plan, changes: Iterable[Change], roots: Iterable[tuple[Key, frozenset[str]]]) -> str:
    """SHA-256 over what is done to which record, in order. Names of changed fields count, their values don't."""
    told = {
        "change": sorted([*change.key, *sorted(change.values)] for change in changes),
        "delete": [list(key) for key, _ in (*plan.explicit, *roots)],
        "along": sorted(list(key) for key in plan.along),
        "keep": sorted(
            {(e.object, e.id, e.reason) for some in (plan.left, plan.kept) for es in some.values() for e in es}
        ),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
