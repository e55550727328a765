"""Cases about people: all of a person goes, no other is touched, and each has an answer of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import unquote

import pytest

from connectors.base.interface import ErasesBy, Operation
from connectors.base.runner import Line, Outcome
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Subject
from connectors.testing.conformance.case import Case
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import TestPerson, difficult, make_person
from connectors.testing.conformance.vendor_fixture import Need


class PeopleCases:
    """Mixed into ConformanceSuite."""

    def test_erases_every_record_of_a_person(self, case: Case) -> None:
        """Root records and what hangs on them, among look-alikes, and says how many."""
        ada = case.seed_with_neighbours(related=3)
        line = case.run(ada)[ada.ref]
        case.assert_ending(line, *_done(case))
        case.assert_gone(ada)
        case.assert_untouched(ada)
        assert sum(line.records.values()) >= 1, "an erasure says what it erased"

    def test_erases_twice(self, case: Case) -> None:
        """The second time there is nothing to do, and nothing is done."""
        ada = case.seed_with_neighbours()
        case.run(ada)
        before = case.peoples_rows()
        line = case.run(ada)[ada.ref]
        case.assert_ending(line, *_done(case, Outcome.ABSENT))
        assert case.peoples_rows() == before, "the second run changed something"

    def test_unknown_person_is_absent(self, case: Case) -> None:
        """No person is found or created, and no other person is taken instead."""
        nobody = case.person("nobody")
        case.seed(*case.neighbours(nobody))
        before = case.peoples_rows()
        line = case.run(nobody)[nobody.ref]
        case.assert_ending(line, *_done(case, Outcome.ABSENT))
        assert case.peoples_rows() == before, "erasing nobody changed something"
        assert not case.residue(nobody), "a person was created"

    def test_difficult_identifiers(self, case: Case) -> None:
        """Quotes, plus signs, spaces, unicode, wildcards, prefixes.

        Exactly these people go, and none of the look-alikes.
        """
        people, strangers = _difficult_people(case)
        case.seed(*strangers, *people)
        lines = case.run(*people)
        for person in people:
            case.assert_ending(lines[person.ref], *_done(case))
        case.assert_gone(*people)
        case.assert_untouched(*people)

    def test_look_alikes_alone_are_not_found(self, case: Case) -> None:
        """Only other people are there: whoever takes the nearest hit erases a stranger."""
        people, strangers = _difficult_people(case)
        case.seed(*strangers)
        before = case.peoples_rows()
        lines = case.run(*people)
        for person in people:
            case.assert_ending(lines[person.ref], *_done(case, Outcome.ABSENT))
        assert case.peoples_rows() == before, "a look-alike was touched"

    def test_finds_a_person_on_the_last_page(self, case: Case) -> None:
        """A search that reads the first page only misses somebody."""
        case.needs(Need.PAGES)
        ada = case.person("ada")
        case.seed(*case.vendor.crowd(ada), ada)
        case.assert_ending(case.run(ada)[ada.ref], *_done(case))
        case.assert_gone(ada)
        case.assert_untouched(ada)

    def test_erases_more_pages_of_roots_than_a_plan_has_rounds(self, case: Case) -> None:
        """Planning again for each page that was not read would end in time for few pages; not for these."""
        case.needs(Need.PAGES)
        count = case.vendor.roots_over_pages
        if not count:
            pytest.skip(f"{case.vendor.name} has one root record for an identifier")
        ada = replace(case.person("ada", related=0), roots=count)
        case.seed(*case.neighbours(ada), ada)
        assert len(case.own_rows[ada.ref]) >= count, "the fixture put fewer root records in"
        case.assert_ending(case.run(ada)[ada.ref], *_done(case))
        case.assert_gone(ada)
        case.assert_untouched(ada)

    def test_erases_related_records_beyond_the_first_page(self, case: Case) -> None:
        """The records that hang on a person come in pages, too."""
        case.needs(Need.RELATED, Need.PAGES)
        ada = case.seed_with_neighbours(related=case.vendor.related_over_pages)
        case.assert_ending(case.run(ada)[ada.ref], *_done(case))
        case.assert_gone(ada)
        case.assert_untouched(ada)

    def test_many_people_have_answers_of_their_own(self, case: Case) -> None:
        """Several people at once, one of them unknown, one without a usable identifier.

        No person gets another's ending.
        """
        known = [case.person(f"person-{n}", related=n % 3) for n in range(5)]
        stays, unknown = case.person("stays"), case.person("unknown")
        case.seed(stays, *known)
        strange = make_person("strange", Identifier("conformance_only", "Strange"), related=0)
        lines = case.run(*known, unknown, strange)
        for person in known:
            case.assert_ending(lines[person.ref], *_done(case))
        case.assert_ending(lines[unknown.ref], *_done(case, Outcome.ABSENT))
        case.assert_ending(lines[strange.ref], Outcome.NOT_ADDRESSABLE)
        case.assert_gone(*known)
        case.assert_untouched(*known)

    def test_one_batch_answers_per_person(self, case: Case) -> None:
        """One call to `erase` for the people of a batch gives each of them one answer of the right kind."""
        connector = case.connect()
        limit = connector.declaration.batch_limit(Operation.ERASE)
        known = [case.person(f"person-{n}", related=1) for n in range(min(3, limit))]
        case.seed(*known)
        batch = case.frozen(connector, *known)
        answers = case.finish(connector, batch, SuiteLease())
        assert set(answers) == {p.ref for p in known}
        case.assert_gone(*known)

    def test_without_a_usable_identifier_nobody_is_erased(self, case: Case) -> None:
        """Doing nothing is never success."""
        ada = case.seed_with_neighbours()
        connector, before = case.connect(), case.peoples_rows()
        strange = Subject("strange", (Identifier("conformance_only", ada.identifier.value),))
        batch = Batch("conformance-1", (strange,))
        answers = case.erase(connector, batch, SuiteLease())
        looks = case.confirm(connector, batch)
        for answer in (*answers.values(), *looks.values()):
            assert isinstance(answer, Answer)
            assert answer.kind is AnswerKind.NOT_ADDRESSABLE, f"answered {answer.kind.value}"
        assert case.peoples_rows() == before

    def test_locate_reads_only(self, case: Case) -> None:
        """The search counts records and changes none."""
        connector = case.connect()
        if not case.can_locate(connector):
            pytest.skip(f"{case.vendor.name} declares no locate")
        ada, nobody = case.seed_with_neighbours(), case.person("nobody")
        before = case.peoples_rows()
        lines = case.run(ada, nobody, operation=Operation.LOCATE, connector=connector)
        case.assert_ending(lines[ada.ref], Outcome.LOCATED)
        case.assert_ending(lines[nobody.ref], Outcome.NOTHING_FOUND)
        assert sum(lines[ada.ref].records.values()) >= 1
        assert case.peoples_rows() == before, "locate changed something"

    def test_records_outside_the_plan_are_not_touched(self, case: Case) -> None:
        """Erasing by records: what a fresh search finds and the plan doesn't hold is reported, not erased."""
        connector = case.connect()
        if connector.declaration.erases_by is not ErasesBy.RECORDS:
            pytest.skip(f"{case.vendor.name} erases by identifiers")
        ada = case.seed_with_neighbours()
        before = case.peoples_rows()
        answer = case.erase_to_the_end(connector, case.batch(ada), SuiteLease())[ada.ref]
        assert isinstance(answer, Answer), f"erase answered {answer!r}"
        assert answer.kind is AnswerKind.PARTIAL
        assert answer.found is not None, "the unplanned records come back as found"
        assert answer.found.records
        assert case.peoples_rows() == before, "an unplanned record was touched"

    def test_sends_no_foreign_identifier(self, case: Case) -> None:
        """Everything that goes to the vendor about a person is this person's, however near the others are."""
        case.needs(Need.HTTP)
        ada = case.seed_with_neighbours()
        case.sandbox.journal.clear()
        case.run(ada)
        sent = "\n".join(_sent(call) for call in case.sandbox.journal).casefold()
        own = {trace.casefold() for trace in case.vendor.traces(ada)}
        for trace in sorted(own, key=len, reverse=True):
            sent = sent.replace(trace, "")
        for other in case.neighbours(ada):
            for trace in case.vendor.traces(other):
                assert trace.casefold() not in sent, f"{other.ref}'s identifier was sent to the vendor"

    def test_two_people_who_share_are_ambiguous(self, case: Case) -> None:
        """Two people of one run with the same identifier: nothing is done for either of them."""
        ada = case.seed_with_neighbours()
        other = make_person("other", ada.identifier, related=0)
        before = case.peoples_rows()
        lines: dict[str, Line] = case.run(ada, other)
        for line in lines.values():
            case.assert_ending(line, Outcome.AMBIGUOUS)
        assert case.peoples_rows() == before, "an ambiguous record was touched"


def _difficult_people(case: Case) -> tuple[list[TestPerson], list[TestPerson]]:
    """One person per difficulty, and the strangers who look like them, each once."""
    kind = case.vendor.kind
    values = difficult(kind)
    if not values:
        pytest.skip(f"{case.vendor.name} knows people by {kind}, which has no difficult values")
    people = [make_person(difficulty, Identifier(kind, value), related=0) for difficulty, value in values.items()]
    strangers = {other.identifier: other for person in people for other in case.neighbours(person)}
    return people, list(strangers.values())


def _done(case: Case, verified: Outcome = Outcome.ERASED_VERIFIED) -> tuple[Outcome, ...]:
    """How a good ending is called: a connector whose vendor offers no look says so."""
    declared = case.vendor.connector().declaration
    return (verified,) if declared.can_confirm else (Outcome.ERASED_UNVERIFIED,)


def _sent(call: dict[str, object]) -> str:
    body = str(call["body"])
    try:
        body = json.dumps(json.loads(body), ensure_ascii=False)
    except ValueError:
        body = unquote(body)
    return f"{unquote(str(call['path']))} {call['query']} {body}"
