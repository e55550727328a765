"""Erase a person's records one by one.

The vendor declares its calls and gets the rules of erasure from here.

The order of one person: look; erase what hangs on the planned roots; look again, and go on only if nothing is left
there; erase the planned roots. Before each effect the lease is asked. Effects go one person at a time, so that no other
person's call is under way when the lease is lost. `dependents` and `erase_record` may be overridden.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from connectors.base.errors import AnswerNotUnderstood, ConnectorError
from connectors.base.interface import Answers, Lease
from connectors.base.kit.calls import Call, Gone, Search, text_of, value_at, values_at
from connectors.base.kit.look import KitConnector, Look
from connectors.base.kit.people import each_person
from connectors.base.kit.progress import PersonProgress, Progress, key_of
from connectors.base.values import Answer, AnswerKind, Batch, Left, Record, Subject

_MOST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Dependent:
    """Records that hang on a root and would stay without it.

    They are found by the root's id and erased before the root.

    `hangs_on`: where a row holds the ids of all roots that it hangs on, for vendors where it may be several. A row that
    names another person's root too is not erased and is reported as `shared_<object>` in `not_covered`. `show` and
    `gone` say whether one record is still there, because a search may lag behind a deletion.
    """

    object: str
    found_by: Search
    show: Call
    erase: Call
    gone: Gone
    hangs_on: str | None = None
    id: str = "id"


@dataclass(frozen=True)
class Hanging:
    """Dependent records of one person.

    `own` may be erased; `shared` names the objects of records that belong to other people too.
    """

    own: Mapping[str, Record] = field(repr=False)
    shared: frozenset[str]

    @property
    def not_covered(self) -> tuple[str, ...]:
        """Codes for the answer."""
        return tuple(f"shared_{name}" for name in sorted(self.shared))


class RestConnector(KitConnector):
    """Subclass it with `declaration`, `Credentials`, `root`, `erase_root`, `client` and `control`.

    `hides_archived`: the vendor answers "no such record" for an archived record, which still exists. Planned roots
    that a look doesn't show are then erased as well, because only the answer to the erasure proves that they are gone.
    """

    erase_root: ClassVar[Call]
    hanging: ClassVar[tuple[Dependent, ...]] = ()
    hides_archived: ClassVar[bool] = False

    # Methods that a vendor may override

    def dependents(self, root_id: str) -> list[tuple[Record, frozenset[str]]]:
        """Return the records that hang on a root, each with the ids of all roots that it hangs on."""
        found: list[tuple[Record, frozenset[str]]] = []
        for kind in self.hanging:
            for row in kind.found_by.all(self.http, root_id):
                record = Record(kind.object, text_of(value_at(row, kind.id), kind.id))
                roots = [root_id] if kind.hangs_on is None else values_at(row, kind.hangs_on)
                found.append((record, frozenset(text_of(one, kind.object) for one in roots)))
        return found

    def is_there(self, record: Record) -> bool:
        """True if the vendor still shows a dependent record by its id."""
        kind = self._kind(record)
        return not kind.gone.says(kind.show.send(self.http, record.id, also=(kind.gone.status,)))

    def erase_record(self, record: Record) -> bool:
        """Erase one record for good. Return False if the vendor says that it was gone already."""
        call, gone = self.erase_root, self.root.gone
        if record.object != self.root.object:
            kind = self._kind(record)
            call, gone = kind.erase, kind.gone
        if gone is None:
            call.send(self.http, record.id)
            return True
        return not gone.says(call.send(self.http, record.id, also=(gone.status,)))

    # The rules, the same for every vendor

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Erase what the plans hold. One answer or error per person.

        Raises LeaseLost, after which nothing more is erased.
        """
        progress = Progress(lease)
        self.begin_pass()
        looks, answers = self.looks(batch)
        people = [subject for subject in batch.subjects if subject.ref in looks]
        hanging: dict[str, Hanging] = {}
        for ref, found in self.each_person(people, self.hanging_on).items():
            if isinstance(found, ConnectorError):
                answers[ref] = found
            else:
                hanging[ref] = found
        people = [subject for subject in people if subject.ref in hanging]
        for subject in people:
            person = progress.of(subject)
            roots = self.to_erase(looks[subject.ref], person)
            person.settle({*hanging[subject.ref].own, *map(key_of, roots)})
            person.begin([*hanging[subject.ref].own.values(), *roots])
        progress.save()
        reached: set[str] = set()

        def erase_one(subject: Subject) -> Answer:
            reached.add(subject.ref)
            return self.erase_person(subject, looks[subject.ref], hanging[subject.ref], progress)

        answers |= each_person(people, erase_one, at_most=1, concerns_all=self.concerns_all)
        for subject in people:
            if subject.ref not in reached:
                progress.of(subject).stop()
        progress.save()
        return answers

    def erase_person(self, subject: Subject, look: Look, hanging: Hanging, progress: Progress) -> Answer:
        """Erase one person's dependents, then the planned roots; report new records untouched."""
        left = self.erase_dependents(subject, hanging, progress)
        if not left:
            self.erase_roots(subject, look, progress)
        person = progress.of(subject)
        counts = person.counts(subject)
        left += self.left(look.new, "not_in_plan")
        if left:
            found = self.located(subject, look.new) if look.new else None
            return Answer.partial(left, records=counts, found=found, not_covered=hanging.not_covered)
        if person.done:
            return Answer.erased(counts, not_covered=hanging.not_covered)
        return Answer.already_absent(not_covered=hanging.not_covered)

    def erase_dependents(self, subject: Subject, hanging: Hanging, progress: Progress) -> tuple[Left, ...]:
        """Erase what hangs on the person's planned roots until a look finds nothing more. Return what is left."""
        pending = list(hanging.own.values())
        for _ in range(_MOST_ROUNDS):
            if not pending:
                return ()
            progress.of(subject).begin(pending)
            progress.save()
            self._erase(subject, pending, progress)
            # A record that came meanwhile is erased in the next round; one that the search still lists is asked for.
            again = self.hanging_on(subject).own
            erased = {key_of(record) for record in pending}
            pending = [record for key, record in again.items() if key not in erased or self.is_there(record)]
        return tuple(Left(record.object, record.id, "still_there") for record in pending)

    def erase_roots(self, subject: Subject, look: Look, progress: Progress) -> None:
        """Erase the person's planned roots."""
        self._erase(subject, self.to_erase(look, progress.of(subject)), progress)

    def to_erase(self, look: Look, person: PersonProgress) -> list[Record]:
        """Return the planned roots that are there, or may be there where the vendor hides archived ones."""
        unseen = look.planned - set(look.rows) if self.hides_archived else frozenset[Record]()
        return [*look.known, *(record for record in sorted(unseen) if key_of(record) not in person.done)]

    def hanging_on(self, subject: Subject) -> Hanging:
        """Return what hangs on the person's planned roots, also on roots that are gone.

        A root that is gone may have left orphans.

        Raises AnswerNotUnderstood(`dependent_of_another`) if the vendor's search returns a record of another root.
        """
        planned = {record.id for record in self.planned(subject)}
        own: dict[str, Record] = {}
        shared: set[str] = set()
        for root_id in sorted(planned):
            for record, roots in self.dependents(root_id):
                if root_id not in roots:
                    raise AnswerNotUnderstood("dependent_of_another")
                if roots <= planned:
                    own[key_of(record)] = record
                else:
                    shared.add(record.object)
        return Hanging(own, frozenset(shared))

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look again for roots, and for dependents of planned roots, each by its id."""
        answers = dict(super().confirm_absence(batch))
        people = [s for s in batch.subjects if isinstance(answers[s.ref], Answer) and self.planned(s)]
        looks = self.each_person(people, self._orphans)
        for ref, found in looks.items():
            answers[ref] = found if isinstance(found, ConnectorError) else _with(answers[ref], *found)
        return answers

    def _orphans(self, subject: Subject) -> tuple[tuple[Left, ...], tuple[str, ...]]:
        hanging = self.hanging_on(subject)
        there = [record for record in hanging.own.values() if self.is_there(record)]
        return tuple(Left(r.object, r.id, "still_there") for r in there), hanging.not_covered

    def _erase(self, subject: Subject, records: Collection[Record], progress: Progress) -> None:
        person = progress.of(subject)
        for record in records:
            try:
                progress.require_permission(subject)
                was_there = self.erase_record(record)
            except ConnectorError as error:
                # Only this record may have gone; the ones after it were not touched.
                person.stop()
                if error.effect_unknown:
                    person.begin([record])
                raise
            person.finish(record, was_there=was_there)

    def _kind(self, record: Record) -> Dependent:
        return next(kind for kind in self.hanging if kind.object == record.object)


def _with(
    answer: Answer | ConnectorError, left: tuple[Left, ...], not_covered: tuple[str, ...]
) -> Answer | ConnectorError:
    """Return the answer of a look at the roots with what the look at the dependents adds."""
    if isinstance(answer, ConnectorError):
        return answer
    if left and answer.kind is AnswerKind.ALREADY_ABSENT:
        return Answer.partial(left, not_covered=not_covered)
    return replace(answer, left=answer.left + left, not_covered=answer.not_covered + not_covered)
