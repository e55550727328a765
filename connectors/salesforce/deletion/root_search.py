"""Find people's own records by value, by id and by the org's own references, for many people at once.

Decides which records are a person's roots: an exact value in one of the identifier fields, a frozen id, or a reference
(converted lead, Individual, portal user, merge loser, a person account's two halves). A business account is no root.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.base.values import Identifier, Located, Record, Subject
from connectors.salesforce.identifiers import ID_KINDS, Rules, carried, long_id, wanted
from connectors.salesforce.org.reading import Reader, Rows
from connectors.salesforce.org.schema import ACCOUNT, CONTACT, INDIVIDUAL, LEAD, MAIL, PEOPLE, USER, ObjectType, Schema
from connectors.salesforce.org.soql import by_id, quote, selects
from connectors.salesforce.org.statement_packing import loads
from connectors.salesforce.org.visibility import check_own_record, check_rights, rights_asked

_MOST_ROUNDS = 6
# One address has many mails. The pages of a list can only be read one after the other; lists travel five at a time.
_MAILS_AT_ONCE = 200
_TIES = (
    "IndividualId",
    "PersonIndividualId",
    "ConvertedContactId",
    "ConvertedAccountId",
    "ContactId",
    "MasterRecordId",
)
_OTHERS = ("IsDeleted", "IsPersonAccount", "PersonContactId", "AccountId", "IsActive", "IsPortalEnabled", "IsConverted")
_Key = tuple[str, str]


@dataclass(frozen=True)
class Root:
    """One record that is a person's own. `twin` is a person account's contact, which lives and dies with it."""

    object: str
    id: str = field(repr=False)
    row: Mapping[str, Any] = field(repr=False)

    @property
    def is_deleted(self) -> bool:
        """True if it lies in the recycle bin, or is on its way out of it."""
        return self.row.get("IsDeleted") is True

    @property
    def twin(self) -> str | None:
        """The id of the person account's contact."""
        return self.row.get("PersonContactId") if self.object == ACCOUNT else None


@dataclass
class Snapshot:
    """What one look saw of one person. `copies`: records of other objects that hold a value of theirs."""

    roots: dict[_Key, Root] = field(default_factory=dict, repr=False)
    copies: dict[_Key, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    strong: set[_Key] = field(default_factory=set, repr=False)  # found by more than a kind that is shared
    referenced: set[_Key] = field(default_factory=set, repr=False)  # found by the org's own references

    def without(self, planned: set[_Key]) -> Snapshot:
        """Less what is planned already."""
        return Snapshot(
            {k: r for k, r in self.roots.items() if k not in planned},
            {k: r for k, r in self.copies.items() if k not in planned},
        )

    @property
    def is_empty(self) -> bool:
        """Nothing was seen."""
        return not self.roots and not self.copies


class RootSearch:
    """Looks for roots in one org."""

    def __init__(self, schema: Schema, rules: Rules, reader: Reader, shared_kinds: frozenset[str], own_id: str) -> None:
        self.own_id = own_id
        self._asked_references: set[tuple[str, str, str]] = set()
        self._schema = schema
        self._rules = rules
        self._reader = reader
        self._shared = shared_kinds

    def for_people(
        self, subjects: Sequence[Subject], *, by_values: bool = True, expecting: bool = True
    ) -> dict[str, Snapshot]:
        """Find each person's records by identifiers and frozen ids, under a credential that proves its visibility.

        Not `by_values`: people with frozen records are looked for by those and their references only, and only in
        objects of people. Not `expecting`: most likely nothing is left of anybody.
        """
        snapshots = {s.ref: Snapshot() for s in subjects}
        index, ids = self._index(subjects)
        self._asked_references = set()
        searched = [s for s in subjects if by_values or not s.records]
        values = wanted(self._rules, searched)
        statements = self._statements(values, ids, only_people=not by_values, expecting=expecting)
        rights = rights_asked(self._schema) if by_values else []
        texts, sure = [*rights, *(text for _, text in statements)], _sure(len(rights), statements)
        answers = self._reader.run(texts, sure, expecting=expecting)
        check_rights(answers[: len(rights)])
        self._check_own_record(statements, answers[len(rights) :])
        for (name, _), rows in zip(statements, answers[len(rights) :], strict=True):
            for row in rows:
                self._take(name, row, index, ids, snapshots)
                self._take_referenced(name, row, ids, snapshots)
        self._follow_references(snapshots)
        return snapshots

    def located(self, subject: Subject, snapshot: Snapshot) -> Located:
        """Return the snapshot as the engine's findings, with the objects that this org's schema can't search."""
        keys = sorted({*snapshot.roots, *snapshot.copies})
        counts: dict[str, int] = defaultdict(int)
        for name, _ in keys:
            counts[name] += 1
        own = {self._rules.normal(i) for i in subject.identifiers}
        others: dict[tuple[str, str], Identifier] = {}
        for (name, record_id), root in sorted(snapshot.roots.items()):
            ids = [Identifier(kind, record_id) for kind, of in ID_KINDS.items() if of == name]
            for identifier in (*carried(self._rules, self._schema.objects[name], root.row), *ids):
                normal = self._rules.normal(identifier)
                if normal not in own:
                    others.setdefault(normal, identifier)
        return Located(
            records=tuple(Record(name, record_id) for name, record_id in keys),
            counts=dict(counts),
            identifiers=tuple(others.values()),
            not_covered=self._rules.unsearchable(self._schema),
        )

    def is_person(self, name: str, row: Mapping[str, Any]) -> bool:
        """True for records that are persons: an Account only as a person account, its contact half not by itself."""
        if name == ACCOUNT:
            return row.get("IsPersonAccount") is True
        return name in PEOPLE and not (name == CONTACT and row.get("IsPersonAccount") is True)

    def matching_fields(self, subject: Subject, name: str, row: Mapping[str, Any]) -> set[str]:
        """Fields of a row in which a value of this person stands."""
        own = {self._rules.normal(i) for i in subject.identifiers}
        fields = self._rules.fields_of(self._schema.objects[name])
        return {
            f for f, kind in fields.items() if row.get(f) and self._rules.normal(Identifier(kind, str(row[f]))) in own
        }

    def _index(self, subjects: Sequence[Subject]) -> tuple[dict[tuple[str, str], set[str]], dict[_Key, set[str]]]:
        """Who has a value, and who has a frozen or given id."""
        values: dict[tuple[str, str], set[str]] = defaultdict(set)
        ids: dict[_Key, set[str]] = defaultdict(set)
        for subject in subjects:
            for identifier in subject.identifiers:
                kind, value = self._rules.normal(identifier)
                values[(kind, value)].add(subject.ref)
                if kind in ID_KINDS:
                    ids[(ID_KINDS[kind], value)].add(subject.ref)
            for record in subject.records:
                ids[(record.object, long_id(record.id) or record.id)].add(subject.ref)
        return values, ids

    def calls_to_confirm(self, subjects: Sequence[Subject]) -> int:
        """Count the calls of a last look by every identifier and frozen id, without references that are found in it."""
        _, ids = self._index(subjects)
        asked = self._statements(wanted(self._rules, subjects), ids, only_people=False, expecting=False)
        rights = rights_asked(self._schema)
        return len(loads(len(rights) + len(asked), _sure(len(rights), asked), expecting=False))

    def rows_of(self, keys: Iterable[_Key]) -> dict[_Key, dict[str, Any]]:
        """Records by their ids, with the fields in which identifiers stand."""
        by_object: dict[str, list[str]] = defaultdict(list)
        for name, record_id in sorted(keys):
            if name in self._schema.objects and long_id(record_id):
                by_object[name].append(record_id)
        texts = [
            (name, text)
            for name, ids in by_object.items()
            for text in selects(self.columns(self._schema.objects[name]), name, [("Id", list(map(by_id, ids)))])
        ]
        answers = self._reader.run([text for _, text in texts])
        return {(name, str(row["Id"])): row for (name, _), rows in zip(texts, answers, strict=True) for row in rows}

    def value_columns(self, name: str) -> list[str]:
        """Fields of an object in which identifiers stand."""
        return list(self._rules.fields_of(self._schema.objects[name]))

    def _check_own_record(self, statements: Sequence[tuple[str, str]], answers: Sequence[Rows]) -> None:
        """We stand among the users: who doesn't see even that saw nothing."""
        users = [row for (name, _), rows in zip(statements, answers, strict=True) if name == USER for row in rows]
        check_own_record(users, self.own_id)

    def _statements(
        self,
        values: Mapping[str, Sequence[str]],
        ids: Mapping[_Key, set[str]],
        *,
        only_people: bool,
        expecting: bool = True,
    ) -> list[tuple[str, str]]:
        """Queries on people, and on everything else that has a field of the right type. Each with its object."""
        references: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for name, record_id in ids:
            if name in PEOPLE:
                for of, field_name, value in self._references(Root(name, record_id, {})):
                    if field_name != "Id":
                        references[of][field_name].add(value)
                        self._asked_references.add((of, field_name, value))
        people: list[tuple[str, str]] = []
        copies: list[tuple[str, str]] = []
        for name, known in self._schema.objects.items():
            if not known.queryable or (name == ACCOUNT and not known.has("IsPersonAccount")):
                continue
            is_person = name in PEOPLE
            given = sorted({i for of, i in ids if of == name and long_id(i)}) if is_person or not only_people else []
            clauses: list[tuple[str, Sequence[str]]] = [("Id", list(map(by_id, given)))]
            clauses += [(f, values.get(kind, ())) for f, kind in self._asked(known).items()]
            clauses += [(f, sorted(map(by_id, v))) for f, v in references.get(name, {}).items() if known.has(f)]
            also = "IsPersonAccount = true" if name == ACCOUNT else ""
            texts = selects(self.columns(known), name, clauses, also, beside=self._ourselves(name))
            if name == MAIL and expecting and max(map(len, values.values()), default=0) > _MAILS_AT_ONCE:
                texts = selects(self.columns(known), name, clauses[:1])
                texts += selects(self.columns(known), name, clauses[1:], most=_MAILS_AT_ONCE)
            (people if name == USER else copies).extend((name, text) for text in texts)
        return [*copies, *people]

    def _ourselves(self, name: str) -> str:
        """We must see ourselves in the very look that absence is concluded from: in each of its statements on users."""
        return f"Id = {quote(by_id(self.own_id))}" if name == USER else ""

    def _asked(self, known: ObjectType) -> dict[str, str]:
        """Fields that are searched. On other objects than people, only values of their own: what can't be written
        there follows from a person's record and is found through it."""
        fields = self._rules.fields_of(known)
        return fields if known.name in PEOPLE else {f: k for f, k in fields.items() if known.fields[f].updateable}

    def columns(self, known: ObjectType) -> list[str]:
        """What is asked of a record: identifiers, references, and whatever says whose it is."""
        names = ["Id", *self._rules.fields_of(known)]
        names += [name for name in (*_TIES, *_OTHERS) if known.has(name)]
        names += person_fields(known)
        return list(dict.fromkeys(names))

    def _take(
        self,
        name: str,
        row: Mapping[str, Any],
        index: Mapping[tuple[str, str], set[str]],
        ids: Mapping[_Key, set[str]],
        snapshots: Mapping[str, Snapshot],
    ) -> None:
        """Give a row to everybody one of whose exact values stands in it. The vendor's own comparison isn't enough."""
        key = (name, str(row["Id"]))
        by_id = set(ids.get(key, ()))
        weak: set[str] = set()
        strong: set[str] = set()
        for identifier in carried(self._rules, self._schema.objects[name], row):
            owners = index.get(self._rules.normal(identifier), set())
            if identifier.kind in self._shared:
                weak |= owners
            else:
                strong |= owners
        for kind, of in ID_KINDS.items():
            strong |= index.get((kind, key[1]), set()) if of == name else set()
        refs = by_id | weak | strong
        for ref in refs:
            snapshot = snapshots[ref]
            if name not in PEOPLE:
                snapshot.copies[key] = row
            elif name == CONTACT and row.get("IsPersonAccount") is True and row.get("AccountId"):
                # Half of a person account: the account is the root, and the references lead there.
                snapshot.roots[key] = Root(name, key[1], row)
            elif self.is_person(name, row):
                snapshot.roots[key] = Root(name, key[1], row)
            if ref in strong:
                snapshot.strong.add(key)
            elif ref not in weak:
                snapshot.referenced.add(key)

    def _take_referenced(
        self, name: str, row: Mapping[str, Any], ids: Mapping[_Key, set[str]], snapshots: Mapping[str, Snapshot]
    ) -> None:
        """Give a row to those with whose frozen records the org ties it."""
        if name not in PEOPLE or not self.is_person(name, row):
            return
        own = Root(name, str(row["Id"]), row)
        for of, field_name, value in self._references(own):
            # The other end of one of its references is a frozen record.
            for ref in ids.get((of, value), ()) if field_name == "Id" else ():
                snapshots[ref].roots.setdefault((name, own.id), own)
                snapshots[ref].referenced.add((name, own.id))
        for ref in ids.get((name, str(row.get("MasterRecordId"))), ()):
            snapshots[ref].roots.setdefault((name, own.id), own)
            snapshots[ref].referenced.add((name, own.id))

    def _follow_references(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Records that the org itself ties to a found one belong to the same person, until there are no more."""
        asked = set(self._asked_references)
        for _ in range(_MOST_ROUNDS):
            owners: dict[tuple[str, str, str], set[str]] = defaultdict(set)
            for ref, snapshot in snapshots.items():
                for root in snapshot.roots.values():
                    for reference in self._references(root):
                        owners[reference].add(ref)
            new = [
                reference
                for reference in owners
                if reference not in asked and not self._is_known(reference, owners[reference], snapshots)
            ]
            if not new:
                break
            asked |= set(new)
            self._ask_references(new, owners, snapshots)
        for snapshot in snapshots.values():
            if snapshot.strong:
                # A reference to a record that is surely theirs is as good as a value.
                snapshot.strong |= snapshot.referenced
            _drop_halves(snapshot)

    def _ask_references(
        self,
        new: Sequence[tuple[str, str, str]],
        owners: Mapping[tuple[str, str, str], set[str]],
        snapshots: Mapping[str, Snapshot],
    ) -> None:
        texts: list[tuple[str, str]] = []
        for name in sorted(PEOPLE, key=lambda n: n == USER):
            known = self._schema.objects.get(name)
            if known is None:
                continue
            by_field: dict[str, list[str]] = defaultdict(list)
            for of, field_name, value in new:
                if of == name and (field_name == "Id" or known.has(field_name)):
                    by_field[field_name].append(by_id(value))
            asked = selects(self.columns(known), name, list(by_field.items()), beside=self._ourselves(name))
            texts += [(name, text) for text in asked]
        answers = self._reader.run([text for _, text in texts], _sure(0, texts))
        self._check_own_record(texts, answers)
        for (name, _), rows in zip(texts, answers, strict=True):
            for row in rows:
                key = (name, str(row["Id"]))
                for field_name in ("Id", *_TIES, "PersonContactId"):
                    for ref in owners.get((name, field_name, str(row.get(field_name))), ()):
                        if self.is_person(name, row) or name == CONTACT:
                            snapshots[ref].roots.setdefault(key, Root(name, key[1], row))
                            snapshots[ref].referenced.add(key)

    def _is_known(
        self, reference: tuple[str, str, str], refs: Iterable[str], snapshots: Mapping[str, Snapshot]
    ) -> bool:
        name, field_name, value = reference
        return field_name == "Id" and all((name, value) in snapshots[ref].roots for ref in refs)

    def _references(self, root: Root) -> Iterable[tuple[str, str, str]]:
        """(object, field, value) of whatever else belongs to the person of this record."""
        row = root.row
        individual = root.id if root.object == INDIVIDUAL else row.get("IndividualId") or row.get("PersonIndividualId")
        if individual:
            yield (INDIVIDUAL, "Id", individual)
            yield from ((name, "IndividualId", individual) for name in (CONTACT, LEAD, USER))
            yield (ACCOUNT, "PersonIndividualId", individual)
            yield (INDIVIDUAL, "MasterRecordId", individual)
        contact = {CONTACT: root.id, LEAD: row.get("ConvertedContactId"), USER: row.get("ContactId")}.get(root.object)
        contact = root.twin if root.object == ACCOUNT else contact
        if contact:
            yield (CONTACT, "Id", contact)
            yield (LEAD, "ConvertedContactId", contact)
            yield (USER, "ContactId", contact)
            yield (CONTACT, "MasterRecordId", contact)
        if root.object == CONTACT and row.get("IsPersonAccount") is True and row.get("AccountId"):
            yield (ACCOUNT, "Id", row["AccountId"])
        if root.object == ACCOUNT:
            yield (LEAD, "ConvertedAccountId", root.id)
        yield (root.object, "MasterRecordId", root.id)


def _sure(rights: int, statements: Sequence[tuple[str, str]]) -> list[int]:
    """Those of a look's statements that show a row to whoever sees: on our rights, which come first, and on users."""
    return [*range(rights), *(n for n, (name, _) in enumerate(statements, start=rights) if name == USER)]


def person_fields(known: ObjectType) -> list[str]:
    """References that say whose a record is: those to a Contact, a Lead or an Individual."""
    people = {CONTACT, LEAD, INDIVIDUAL}
    return [f.name for f in known.fields.values() if f.type == "reference" and people & set(f.refers_to)]


def _drop_halves(snapshot: Snapshot) -> None:
    """A person account's contact is never a root of its own once its account is one."""
    twins = {root.twin for root in snapshot.roots.values() if root.twin}
    for key in [k for k in snapshot.roots if k[0] == CONTACT and k[1] in twins]:
        del snapshot.roots[key]
