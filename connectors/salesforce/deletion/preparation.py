"""Before the effects of one pass: who may be worked on, what hangs on their roots, what is planned, all ids remembered.

Reads and saves nothing by itself; decides who is set aside because it is doubtful whose a record is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from connectors.base.values import Answer, Batch, Left, Located, Subject
from connectors.salesforce.deletion.anonymising import anonymised
from connectors.salesforce.deletion.deletion_groups import Groups
from connectors.salesforce.deletion.dependents import DependentSearch, Key, Row, with_halves
from connectors.salesforce.deletion.planning import Change, Plan, Planner
from connectors.salesforce.deletion.progress import Progress
from connectors.salesforce.deletion.root_search import Root, RootSearch, Snapshot, person_fields
from connectors.salesforce.deletion.states import State, StateQuery
from connectors.salesforce.deletion.writing import Verdict
from connectors.salesforce.identifiers import long_id
from connectors.salesforce.org.reading import Reader
from connectors.salesforce.org.schema import ACCOUNT, PEOPLE, USER, Schema
from connectors.salesforce.org.statement_packing import room_beside
from connectors.salesforce.policy import Action, SalesforcePolicy

_ID_LENGTH = 18


@dataclass
class Person:
    """One person in one pass. `planned`: keys of the frozen records."""

    subject: Subject
    snapshot: Snapshot
    planned: set[Key] = field(repr=False)
    failures: dict[Key, Verdict] = field(default_factory=dict, repr=False)
    left: tuple[Left, ...] = ()
    is_stopped: bool = False
    has_news: bool = False


@dataclass
class _Copies:
    """Fields in which people's values stand, per record; and what these records hang on in place of a root."""

    fields: dict[Key, set[str]] = field(default_factory=dict, repr=False)
    anchors: set[tuple[str, str]] = field(default_factory=set)
    alone: set[Key] = field(default_factory=set, repr=False)


class Preparation:
    """The look and the plan of one pass."""

    def __init__(
        self, schema: Schema, policy: SalesforcePolicy, search: RootSearch, reader: Reader, progress: Progress
    ) -> None:
        self._schema = schema
        self._policy = policy
        self._search = search
        self._reader = reader
        self._progress = progress
        self.people: dict[str, Person] = {}
        self.set_aside: dict[str, Answer] = {}
        self.rows: dict[Key, Row] = {}
        self.known: dict[Key, State] = {}
        self.anchors: set[Key] = set()  # people's roots with both halves of person accounts
        self._groups = Groups()
        self._dependent_search: DependentSearch | None = None
        self._owners: dict[Key, set[str]] = {}

    def look(self, batch: Batch) -> None:
        """Who is there, and of whom nothing may be touched: those are set aside with their answers."""
        # By their frozen records and references only: the confirming look finds what is new under a person's values.
        snapshots = self._search.for_people(batch.subjects, by_values=False)
        for subject in batch.subjects:
            snapshot = snapshots[subject.ref]
            planned = {(r.object, long_id(r.id) or r.id) for r in subject.records}
            self.people[subject.ref] = Person(subject, snapshot, planned)
        self._part_the_doubtful()

    def _part_the_doubtful(self) -> None:
        """Nothing is done to a record that two people of the batch plan, to a colleague, or on a shared kind's word."""
        owners: dict[Key, set[str]] = {}
        for ref, person in self.people.items():
            for key in person.planned:
                owners.setdefault(key, set()).add(ref)
        for key, refs in owners.items():
            for ref in refs if len(refs) > 1 else ():
                self._put_aside(ref, Answer.ambiguous("shared_record", left=(Left(*key, "shared_record"),)))
        for ref, person in list(self.people.items()):
            reviews = self._policy.internal_users == "review"
            internal = [
                root
                for root in person.snapshot.roots.values()
                if reviews and is_internal(root) and self._search.matching_fields(person.subject, USER, root.row)
            ]
            # Once something was done, what proved the person may be gone already.
            doubts = bool(self._policy.shared_kinds) and not self._progress.of(ref).has_begun
            weak = [key for key in person.snapshot.roots if doubts and key not in person.snapshot.strong]
            if internal:
                left = tuple(Left(r.object, r.id, "internal_user") for r in internal)
                self._put_aside(ref, Answer.ambiguous("internal_user", left=left))
            elif weak:
                left = tuple(Left(*key, "shared_kind_only") for key in weak)
                self._put_aside(ref, Answer.ambiguous("shared_kind_only", left=left))

    def plan(self) -> Plan:
        """What is to happen below the roots, with every id remembered in the progress."""
        owners: dict[Key, set[str]] = {}
        for ref, person in self.people.items():
            mine = [r for k, r in person.snapshot.roots.items() if k in person.planned and r.object != USER]
            for key in with_halves(mine):
                owners.setdefault(key, set()).add(ref)
        dependent_search = DependentSearch(self._schema, self._reader, self._policy.staying, self._search.value_columns)
        self._dependent_search, self._owners = dependent_search, owners
        self.rows = dependent_search.run(owners)
        copies = self._add_copies()
        dependent_search.run(self._standing_alone(copies, owners))
        users = {k for p in self.people.values() for k in p.snapshot.roots if k in p.planned}
        tops = {*owners, *users, *((name, f"copy:{ref}") for name, ref in copies.anchors)}
        planner = Planner(self._schema, self._policy, self.rows, tops, binned=self.binned_roots(), copies=copies.fields)
        plan = planner.plan(all_explicit=any(self._progress.of(ref).all_explicit for ref in self.people))
        for ref, person in self.people.items():
            person.left = tuple(plan.left.get(ref, ()))
        self.anchors = set(owners)
        self._resume(plan)
        self._remember(plan)
        self._tie_groups()
        return plan

    def news(self, look: StateQuery) -> set[str]:
        """Who has got something since the look that would be left behind without a trace. Spare room is the look's."""
        owners = {key: refs & self.people.keys() for key, refs in self._owners.items()}
        owners = {key: refs for key, refs in owners.items() if refs}
        if self._dependent_search is None or not owners:
            return set()
        news = self._dependent_search.news(owners)
        riders = look.riders(room_beside(len(news.statements), len(news.sure)), None, only_early=True)
        rows = self._reader.run([*news.statements, *riders], news.sure)
        look.rode(rows[len(news.statements) :])
        return news.of(rows[: len(news.statements)])

    def group_of(self, owners: frozenset[str]) -> str:
        """The group of people whose deletions must not overlap: they share an Account or a record."""
        return self._groups.of(min(owners))

    def _tie_groups(self) -> None:
        known = self._schema.objects.get(ACCOUNT)
        prefix = known.prefix if known is not None and known.prefix else "001"
        for ref, person in self.people.items():
            for root in person.snapshot.roots.values():
                self._groups.connect((ref, *_accounts(root.row, prefix)))
        for row in self.rows.values():
            self._groups.connect((*sorted(row.owners), *_accounts(row.values, prefix)))

    def _standing_alone(self, copies: _Copies, roots: Mapping[Key, set[str]]) -> dict[Key, set[str]]:
        """Records with a value in them that name nobody: what hangs on them is looked at as well."""
        found: dict[Key, set[str]] = {}
        for key in copies.alone:
            row = self.rows[key]
            names_nobody = not any(row.values.get(f) for f in person_fields(self._schema.objects[key[0]]))
            if key not in roots and names_nobody:
                found[key] = set(row.owners)
        return found

    def _add_copies(self) -> _Copies:
        """Records that were frozen for the values that stand in them, whether or not they hang on somebody's root."""
        copies = _Copies()
        planned = {k for p in self.people.values() for k in p.planned if k[0] not in PEOPLE}
        rows = self._search.rows_of(planned - self.rows.keys())
        rows |= {key: self.rows[key].values for key in planned & self.rows.keys()}
        for ref, person in self.people.items():
            for key in sorted(person.planned & rows.keys()):
                values = rows[key]
                fields = self._search.matching_fields(person.subject, key[0], values)
                copies.fields.setdefault(key, set()).update(fields)
                if key not in self.rows:
                    copies.alone.add(key)
                    self.rows[key] = Row(key[0], key[1], dict(values))
                row = self.rows[key]
                row.parents[(None, (key[0], f"copy:{ref}"))] = None
                row.owners.add(ref)
                copies.anchors.add((key[0], ref))
        return copies

    def _resume(self, plan: Plan) -> None:
        """Records of earlier passes that no relation leads to any more are deleted by id."""
        begun = {k: ref for ref in self.people for k in self._progress.of(ref).all_ids}
        if not begun:
            return
        self.known = StateQuery(begun, self._schema).states(self._reader)
        listed = {key for key, _ in plan.explicit} | set(plan.along)
        for key, ref in sorted(begun.items()):
            if key in listed or key[0] in PEOPLE or not self._may_delete(key):
                continue
            # Deleted by a call of its own and not purged: once its root is gone for good, nothing else leads to it.
            is_in_bin = self.known.get(key) is State.BINNED and key in self._progress.of(ref).explicit
            if is_in_bin or self.known.get(key) is State.THERE:
                plan.explicit.append((key, frozenset({ref})))

    def _may_delete(self, key: Key) -> bool:
        known = self._schema.objects.get(key[0])
        return known is not None and known.deletable

    def _remember(self, plan: Plan) -> None:
        """Save every id before the first effect."""
        for ref, person in self.people.items():
            if person.subject.already_reported and not self._progress.of(ref).has_begun:
                self._progress.of(ref).before = dict(person.subject.already_reported)
                self._progress.of(ref).told |= self._told_before(ref, person)
        for key, refs in plan.explicit:
            for ref in refs & self.people.keys():
                self._progress.of(ref).explicit.add(key)
        for key, refs in plan.along.items():
            for ref in refs & self.people.keys():
                self._progress.of(ref).along.add(key)
        for ref, person in self.people.items():
            progress = self._progress.of(ref)
            progress.kept |= {(e.object, e.id): e.reason for e in plan.kept.get(ref, ())}
            for key, root in person.snapshot.roots.items():
                if key not in person.planned or key in plan.blocked_roots:
                    continue
                if self.is_going(key):
                    progress.explicit.add(key)
                else:
                    rule = self._policy.rule(key[0])
                    progress.kept[key] = rule.reason or rule.action.value
                    if self._is_overwritten(root):
                        progress.kept[key] = "anonymised"
                        progress.changed.add(key)

    def _told_before(self, ref: str, person: Person) -> set[Key]:
        """What another version of the plan deleted and said so; the bin shows it a while longer.

        Whoever lost a merge to a record that lives went by that merge, not by us.
        """
        roots = person.snapshot.roots
        live = {key for key, root in roots.items() if not root.is_deleted}
        binned = {k for k, r in roots.items() if r.is_deleted and (k[0], str(r.row.get("MasterRecordId"))) not in live}
        below = {k for k, row in self.rows.items() if k not in roots and row.is_deleted and ref in row.owners}
        return binned | below

    def is_going(self, key: Key) -> bool:
        """True for roots that are deleted: users can't be, others may be kept by policy."""
        return key[0] != USER and self._policy.rule(key[0]).action is Action.DELETE

    def _is_overwritten(self, root: Root) -> bool:
        return root.object == USER or self._policy.rule(root.object).action is Action.ANONYMISE

    def root_changes(self) -> list[Change]:
        """Roots that stay without their values. Users are locked out as well, which also frees their contact."""
        changes = []
        for ref, person in self.people.items():
            for key, root in person.snapshot.roots.items():
                if key not in person.planned or not self._is_overwritten(root):
                    continue
                known = self._schema.objects[key[0]]
                values = anonymised(self._schema, key[0], root.id, self._policy.values)
                if key[0] == USER:
                    values |= {"Username": f"{root.id.lower()}@anonymised.invalid"}
                    values |= {n: False for n in ("IsActive", "IsPortalEnabled") if root.row.get(n) is True}
                values = {n: v for n, v in values.items() if known.has(n) and known.fields[n].updateable}
                changes.append(Change(key, values, frozenset({ref})))
        return changes

    def binned_roots(self) -> set[Key]:
        """Roots that lie in the recycle bin already."""
        return {k for p in self.people.values() for k, r in p.snapshot.roots.items() if r.is_deleted}

    def _put_aside(self, ref: str, answer: Answer) -> None:
        self.set_aside[ref] = answer
        self.people.pop(ref, None)


def _accounts(values: Mapping[str, object], prefix: str) -> set[str]:
    return {v for v in values.values() if isinstance(v, str) and v.startswith(prefix) and len(v) == _ID_LENGTH}


def is_internal(root: Root) -> bool:
    """A user of our own company: no contact stands behind it."""
    return root.object == USER and not root.row.get("ContactId")


def counted(located: Located, rows: Iterable[Row]) -> Located:
    """With the rows that hang on the roots counted."""
    counts = dict(located.counts)
    for row in rows:
        counts[row.object] = counts.get(row.object, 0) + 1
    return replace(located, counts=counts)
