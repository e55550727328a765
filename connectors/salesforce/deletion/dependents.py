"""Everything that hangs on the roots: breadth first over the org's own relations, until nothing new is found.

Decides what is asked and how few statements ask it; what happens to the rows is planned in planning.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.salesforce.deletion.root_search import person_fields
from connectors.salesforce.org.org import MAX_HEAVY_SUBREQUESTS
from connectors.salesforce.org.reading import Reader, Rows
from connectors.salesforce.org.schema import ACCOUNT, CONTACT, MAIL, PEOPLE, Relation, Schema
from connectors.salesforce.org.soql import MAX_SUBSELECTS, by_id, select, selects

Key = tuple[str, str]
Group = tuple[str, frozenset[Relation]]
"""Records of one object below which the same relations are answered already."""
DOCUMENT, LINK, VERSION = "ContentDocument", "ContentDocumentLink", "ContentVersion"
MAIL_RELATION = "EmailMessageRelation"
_UP = {
    LINK: ("ContentDocumentId", DOCUMENT),
    VERSION: ("ContentDocumentId", DOCUMENT),
    MAIL_RELATION: ("EmailMessageId", MAIL),
}
_TELLING = ("IsDeleted", "ContentDocumentId", "LinkedEntityId", "EmailMessageId", "WhoId")
_LOCKED_WITH = ("AccountId", "WhatId", "RelatedToId")
_MOST_LEVELS = 40
_FIRST = {CONTACT: 50, ACCOUNT: 50, "Case": 200}  # parents in the first statement; much hangs on these
_FIRST_OF_OTHERS = 500
_FEW = 25  # where the org has given up a heavier query
_PAGE = 1_950  # rows of a page, children included, with a little room: the vendor's is 2,000


@dataclass
class Row:
    """A record that hangs on somebody's root. `parents`: by which relation on which record (None: reached upwards)."""

    object: str
    id: str = field(repr=False)
    values: dict[str, Any] = field(repr=False)
    parents: dict[tuple[Relation | None, Key], None] = field(default_factory=dict, repr=False)
    owners: set[str] = field(default_factory=set)

    @property
    def key(self) -> Key:
        """Object and id."""
        return self.object, self.id

    @property
    def is_deleted(self) -> bool:
        """True if it lies in the recycle bin already."""
        return self.values.get("IsDeleted") is True


_Found = tuple[str, Mapping[str, Any], Relation, Key]


@dataclass(frozen=True)
class Branch:
    """A relation asked for by a sub-select, and what is asked below it in the same breath."""

    relation: Relation
    below: tuple[Branch, ...] = ()

    @property
    def size(self) -> int:
        """Sub-selects in all."""
        return 1 + sum(branch.size for branch in self.below)


class _Question:
    """Sub-selects below records of one group: at first below a few of them.

    What hangs on these says how many others fit into a statement so that its answer fits on a page: the pages of a list
    can only be read one after the other, but statements travel five at a time.
    """

    def __init__(
        self, group: Group, branches: list[Branch], ids: Sequence[str], most: int = 0, *, deeply: bool = True
    ) -> None:
        self.group, self.branches, self.deeply = group, branches, deeply
        self.most = most if deeply else _FEW
        first = len(ids) if most or not deeply else _FIRST.get(group[0], _FIRST_OF_OTHERS)
        self.ids, self.rest = ids[:first], ids[first:]

    def others(self, most: int) -> _Question:
        """The same about all the others, at most so many in a statement."""
        return _Question(self.group, self.branches, self.rest, most, deeply=self.deeply)


@dataclass(frozen=True)
class News:
    """Statements, which of them show a row to whoever sees, and whom their rows concern."""

    statements: Sequence[str] = field(repr=False)
    sure: range
    of: Callable[[Sequence[Rows]], set[str]]


class DependentSearch:
    """One look downwards from many roots."""

    def __init__(
        self,
        schema: Schema,
        reader: Reader,
        stops: frozenset[str],
        value_columns: Callable[[str], Iterable[str]] = lambda name: (),
    ) -> None:
        """`stops`: objects that stay by policy; what hangs on them is not looked at. `value_columns`: fields of an
        object in which identifiers stand."""
        self._schema = schema
        self._reader = reader
        self._stops = stops
        self._value_columns = value_columns
        self._owners: dict[Key, set[str]] = {}
        self._answered: dict[Key, frozenset[Relation]] = {}  # relations below a record that were asked for with it
        self._rest: list[_Question] = []
        self._due: dict[str, dict[Relation, list[str]]] = {}  # flat statements to come: child -> relation -> parents
        self.rows: dict[Key, Row] = {}

    def run(self, roots: Mapping[Key, set[str]]) -> dict[Key, Row]:
        """All rows below (and files and mails beside) these roots, each with the people whom it belongs to.

        May be called again with more roots; what is known by then isn't asked for anew.
        """
        for key, refs in roots.items():
            self._owners.setdefault(key, set()).update(refs)
            self._answered.pop(key, None)
        frontier = set(roots)
        for _ in range(_MOST_LEVELS):
            if not frontier and not self._due and not self._rest:
                return self.rows
            frontier = self._new(self._level(frontier))
        raise AnswerNotUnderstood("relations_too_deep")

    def news(self, roots: Mapping[Key, set[str]]) -> News:
        """Asks whose roots have got something, since `run`, that would outlive them with nothing left that leads to it.

        What cascades goes along, and what restricts makes itself heard: neither is asked for.
        """
        ids: dict[Group, list[str]] = defaultdict(list)
        for name, record_id in sorted(roots):
            ids[name, frozenset()].append(record_id)
        flat: dict[str, dict[Relation, list[str]]] = {}
        asked: list[tuple[str, str, list[Branch]]] = []
        for (name, _), some in ids.items():
            relations = [r for r in self.usable(name) if not r.cascades and not r.restricts]
            for relation in relations:
                if relation.name is None:
                    flat.setdefault(relation.child, {})[relation] = some
            named = [Branch(r) for r in relations if r.name is not None]
            for start in range(0, len(named), MAX_SUBSELECTS):
                branches = named[start : start + MAX_SUBSELECTS]
                asked += [
                    (text, name, branches)
                    for text in self._nested(_Question((name, frozenset()), branches, some, len(some)))
                ]
        texts = [(text, child, list(due)) for child, due in flat.items() for text in self._flat(child, due)]

        def of(answers: Sequence[Rows]) -> set[str]:
            found: list[_Found] = []
            for (_, name, branches), rows in zip(asked, answers, strict=False):
                found += [each for row in rows for each in self._below(name, row, branches)]
            for (_, _, relations), rows in zip(texts, answers[len(asked) :], strict=True):
                found += [each for row in rows for each in _beside(row, [Branch(r) for r in relations], roots)]
            return {
                ref
                for name, values, _, parent in found
                if (name, str(values["Id"])) not in self.rows and values.get("IsDeleted") is not True
                for ref in roots[parent]
            }

        return News([text for text, _, _ in (*asked, *texts)], range(len(asked)), of)

    def _new(self, found: Sequence[_Found]) -> set[Key]:
        """Note what was found; what is new, or newly somebody's, is gone down from next."""
        frontier: set[Key] = set()
        for name, values, relation, parent in found:
            key = (name, str(values["Id"]))
            if key in self._owners and key not in self.rows:
                continue  # a root that hangs on another one
            row = self._note(name, values, relation, parent, self._owners[parent])
            reached = [row]
            up = _UP.get(name)
            if up is not None and row.values.get(up[0]) and up[1] in self._schema.objects:
                above = (up[1], str(row.values[up[0]]))
                if above not in self._owners or above in self.rows:
                    reached.append(self._note(up[1], {"Id": above[1]}, None, row.key, row.owners))
            for each in reached:
                known = self._owners.get(each.key, set())
                if not each.owners <= known:
                    if known:
                        # Another person's as well, and so are the records below it: they are asked for once more.
                        self._answered.pop(each.key, None)
                    self._owners[each.key] = known | each.owners
                    if each.object not in self._stops:
                        frontier.add(each.key)
        return frontier

    def _note(
        self, name: str, values: Mapping[str, Any], relation: Relation | None, parent: Key, owners: Iterable[str]
    ) -> Row:
        key = (name, str(values["Id"]))
        row = self.rows.setdefault(key, Row(name, key[1], {}))
        row.values.update({k: v for k, v in values.items() if not isinstance(v, dict)})
        row.parents[(relation, parent)] = None
        row.owners |= set(owners)
        return row

    def _level(self, frontier: Iterable[Key]) -> list[_Found]:
        """One round: all sub-selects, and as many flat statements as fit into the calls that those need anyway.

        The others wait for more ids; they go when nothing else is left to ask.
        """
        ids: dict[Group, list[str]] = defaultdict(list)
        for key in sorted(frontier):
            ids[key[0], self._answered.get(key, frozenset())].append(key[1])
        flat, nested = self._cover(ids)
        for relation, group in flat:
            self._due.setdefault(relation.child, {}).setdefault(relation, []).extend(ids[group])
        deeply = self._reader.asks_deeply
        questions = [*self._rest, *(_Question(group, some, ids[group], deeply=deeply) for group, some in nested)]
        self._rest = []
        texts: list[str] = []
        readers: list[tuple[_Question | None, list[Branch]]] = []
        for question in questions:
            asked = self._nested(question)
            texts += asked
            readers += [(question, question.branches)] * len(asked)
        # Objects with relations further down go first.
        for child in sorted(self._due, key=lambda c: (c not in _UP, -len(self.usable(c)), c)):
            asked = self._flat(child, self._due[child])
            if questions and len(texts) % MAX_HEAVY_SUBREQUESTS + len(asked) > MAX_HEAVY_SUBREQUESTS:
                continue
            if questions and len(texts) % MAX_HEAVY_SUBREQUESTS == 0:
                break
            texts += asked
            readers += [(None, [Branch(relation) for relation in self._due.pop(child)])] * len(asked)
        found: list[_Found] = []
        # The records that sub-selects hang on have been seen: whoever sees is shown them again.
        sure = [number for number, (asked_by, _) in enumerate(readers) if asked_by is not None]
        for (asked_by, branches), rows in zip(readers, self._reader.run(texts, sure), strict=True):
            if asked_by is None:
                found += (each for row in rows for each in _beside(row, branches, self._owners))
                continue
            below = [each for row in rows for each in self._below(asked_by.group[0], row, branches)]
            found += below
            if asked_by.rest:
                rows_each = max(1, len(rows) + len(below)) / len(asked_by.ids)
                self._rest.append(asked_by.others(max(1, int(_PAGE / rows_each))))
        return found

    def usable(self, parent: str) -> list[Relation]:
        """Relations worth asking: the child can be asked for, and isn't a person or a look at something else."""
        found = []
        for relation in self._schema.relations_of(parent):
            child = self._schema.objects[relation.child]
            points = child.fields.get(relation.field)
            is_loop = relation.child == parent and not relation.cascades
            tells = child.deletable or relation.restricts or relation.child in (VERSION, f"{parent}Relation")
            if (
                child.queryable
                and tells
                and relation.child not in PEOPLE
                and relation.child not in self._schema.views
                and points is not None
                and points.filterable
                and parent in points.refers_to
                and not is_loop
                # A file is reached from its version upwards.
                and (parent, relation.child) != (VERSION, DOCUMENT)
            ):
                found.append(relation)
        return found

    def _cover(
        self, ids: Mapping[Group, Sequence[str]]
    ) -> tuple[list[tuple[Relation, Group]], list[tuple[Group, list[Branch]]]]:
        """Statements that cover all relations: flat ones by child where a relation has no name (they then take that
        child's other relations too), sub-selects for the rest, or a flat one where that covers more parents at once."""
        rest = {group: [r for r in self.usable(group[0]) if r not in group[1]] for group in ids}
        unnamed = {r.child for relations in rest.values() for r in relations if r.name is None}
        flat = [(r, group) for group, relations in rest.items() for r in relations if r.child in unnamed]
        rest = {group: [r for r in relations if r.child not in unnamed] for group, relations in rest.items()}
        for group in sorted(rest, key=lambda g: len(rest[g])):
            # A parent with a single relation left costs a statement either way: a flat one may spare others theirs.
            if len(rest[group]) == 1:
                child = rest[group][0].child
                for other in rest:
                    flat += [(r, other) for r in rest[other] if r.child == child]
                    rest[other] = [r for r in rest[other] if r.child != child]
        return flat, [(group, some) for group, relations in rest.items() for some in self._packed(relations)]

    def _packed(self, relations: Sequence[Relation]) -> list[list[Branch]]:
        """Relations in as few statements as they need; what room is left takes relations of the children.

        The statement that asks for a child's own relations along with it spares one for them later.
        """
        if not relations:
            return []
        needed = -(-len(relations) // MAX_SUBSELECTS)
        room = needed * MAX_SUBSELECTS - len(relations)
        branches: list[Branch] = []
        for relation in sorted(relations, key=_likely_first):
            branch = self._branch(relation)
            if branch.size - 1 > min(room, MAX_SUBSELECTS - 1):
                branch = Branch(relation)
            room -= branch.size - 1
            branches.append(branch)
        packs: list[list[Branch]] = [[] for _ in range(needed)]
        for branch in sorted(branches, key=lambda b: -b.size):
            pack = min(packs, key=lambda p: sum(b.size for b in p))
            if sum(b.size for b in pack) + branch.size > MAX_SUBSELECTS:
                branch = Branch(branch.relation)
            pack.append(branch)
        return packs

    def _branch(self, relation: Relation) -> Branch:
        """A relation with all named ones below it that lead no further up."""
        if relation.child in self._stops or not self._reader.asks_deeply:
            return Branch(relation)
        below = [r for r in self.usable(relation.child) if r.name is not None]
        return Branch(relation, tuple(Branch(r) for r in below))

    def _columns(self, child: str) -> list[str]:
        known = self._schema.objects[child]
        telling = (n for n in (*_TELLING, *_LOCKED_WITH) if known.has(n))
        return list(dict.fromkeys(["Id", *telling, *self._value_columns(child), *person_fields(known)]))

    def _flat(self, child: str, due: Mapping[Relation, Sequence[str]]) -> list[str]:
        by_field: dict[str, list[str]] = defaultdict(list)
        for relation, ids in due.items():
            by_field[relation.field] += map(by_id, ids)
        columns = list(dict.fromkeys([*self._columns(child), *by_field]))
        if child == LINK:
            # Must be filtered by one of its two fields alone (SOAP API, ContentDocumentLink, read 2026-11-22).
            return [text for f, values in by_field.items() for text in selects(columns, child, [(f, values)])]
        return selects(columns, child, list(by_field.items()))

    def _nested(self, question: _Question) -> list[str]:
        ids = list(map(by_id, question.ids))
        below = list(map(self._sub_select, question.branches))
        return selects(["Id"], question.group[0], [("Id", ids)], most=question.most, sub_selects=below)

    def _sub_select(self, branch: Branch) -> str:
        columns = self._columns(branch.relation.child)
        return select(columns, str(branch.relation.name), sub_selects=map(self._sub_select, branch.below))

    def _below(self, parent: str, row: Mapping[str, Any], branches: Sequence[Branch]) -> list[_Found]:
        key = (parent, str(row["Id"]))
        found: list[_Found] = []
        for branch in branches:
            child_name = branch.relation.child
            asked = frozenset(b.relation for b in branch.below)
            for child in (row.get(str(branch.relation.name)) or {}).get("records") or ():
                found.append((child_name, child, branch.relation, key))
                if asked:
                    child_key = (child_name, str(child["Id"]))
                    self._answered[child_key] = self._answered.get(child_key, frozenset()) | asked
                    found += self._below(child_name, child, branch.below)
        return found


def _likely_first(relation: Relation) -> tuple[bool, bool, bool, str]:
    """Order in which children are worth a look at their own: what must be deleted by a call, then what is common."""
    likely = ("Case", "Task", "Event", MAIL)
    return not relation.restricts, relation.child not in likely, not relation.child.endswith("__c"), relation.child


def _beside(row: Mapping[str, Any], branches: Sequence[Branch], known: Mapping[Key, set[str]]) -> list[_Found]:
    relations = [branch.relation for branch in branches]
    return [
        (r.child, row, r, (r.parent, str(row[r.field])))
        for r in relations
        if row.get(r.field) and (r.parent, str(row[r.field])) in known
    ]


def with_halves(roots: Iterable[Any]) -> dict[Key, str]:
    """Keys of roots, and of the contacts of person accounts: their cases and tasks point at those."""
    found: dict[Key, str] = {}
    for root in roots:
        found[(root.object, root.id)] = root.id
        if root.twin:
            found[(CONTACT, root.twin)] = root.id
    return found
