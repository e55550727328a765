"""Cases about people: all of a person goes, nobody else is touched, and everybody has an answer of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import unquote

import pytest

from connectors.base.interface import ErasesBy, Operation
from connectors.base.runner import Line, Outcome
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Subject
from connectors.testing.conformance.bench import Need
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import Plant, difficult, plant
from connectors.testing.conformance.trial import Trial


class PeopleCases:
    """Mixed into ConformanceSuite."""

    def test_erases_every_record_of_a_person(self, trial: Trial) -> None:
        """Root records and what hangs on them, among look-alikes, and says how many."""
        ada = trial.seed_with_neighbours(related=3)
        line = trial.run(ada)[ada.ref]
        trial.assert_ending(line, *_done(trial))
        trial.assert_gone(ada)
        trial.assert_untouched(ada)
        assert sum(line.records.values()) >= 1, "an erasure says what it erased"

    def test_erases_twice(self, trial: Trial) -> None:
        """The second time there is nothing to do, and nothing is done."""
        ada = trial.seed_with_neighbours()
        trial.run(ada)
        before = trial.peoples_rows()
        line = trial.run(ada)[ada.ref]
        trial.assert_ending(line, *_done(trial, Outcome.ABSENT))
        assert trial.peoples_rows() == before, "the second run changed something"

    def test_unknown_person_is_absent(self, trial: Trial) -> None:
        """Nobody is found, nobody is created, nobody else is taken instead."""
        nobody = trial.person("nobody")
        trial.seed(*trial.neighbours(nobody))
        before = trial.peoples_rows()
        line = trial.run(nobody)[nobody.ref]
        trial.assert_ending(line, *_done(trial, Outcome.ABSENT))
        assert trial.peoples_rows() == before, "erasing nobody changed something"
        assert not trial.residue(nobody), "a person was created"

    def test_difficult_identifiers(self, trial: Trial) -> None:
        """Quotes, plus signs, spaces, unicode, wildcards, prefixes: exactly these people, none of the look-alikes."""
        people, strangers = _difficult_people(trial)
        trial.seed(*strangers, *people)
        lines = trial.run(*people)
        for person in people:
            trial.assert_ending(lines[person.ref], *_done(trial))
        trial.assert_gone(*people)
        trial.assert_untouched(*people)

    def test_look_alikes_alone_are_not_found(self, trial: Trial) -> None:
        """Only other people are there: whoever takes the nearest hit erases a stranger."""
        people, strangers = _difficult_people(trial)
        trial.seed(*strangers)
        before = trial.peoples_rows()
        lines = trial.run(*people)
        for person in people:
            trial.assert_ending(lines[person.ref], *_done(trial, Outcome.ABSENT))
        assert trial.peoples_rows() == before, "a look-alike was touched"

    def test_finds_a_person_on_the_last_page(self, trial: Trial) -> None:
        """A search that reads the first page only misses somebody."""
        trial.needs(Need.PAGES)
        ada = trial.person("ada")
        trial.seed(*trial.bench.crowd(ada), ada)
        trial.assert_ending(trial.run(ada)[ada.ref], *_done(trial))
        trial.assert_gone(ada)
        trial.assert_untouched(ada)

    def test_erases_more_pages_of_roots_than_a_plan_has_rounds(self, trial: Trial) -> None:
        """Planning again for each page that was not read would end in time for few pages; not for these."""
        trial.needs(Need.PAGES)
        count = trial.bench.roots_over_pages
        if not count:
            pytest.skip(f"{trial.bench.name} has one root record for an identifier")
        ada = replace(trial.person("ada", related=0), roots=count)
        trial.seed(*trial.neighbours(ada), ada)
        assert len(trial.own_rows[ada.ref]) >= count, "the bench put fewer root records in"
        trial.assert_ending(trial.run(ada)[ada.ref], *_done(trial))
        trial.assert_gone(ada)
        trial.assert_untouched(ada)

    def test_erases_related_records_beyond_the_first_page(self, trial: Trial) -> None:
        """What hangs on a person comes in pages too."""
        trial.needs(Need.RELATED, Need.PAGES)
        ada = trial.seed_with_neighbours(related=trial.bench.related_over_pages)
        trial.assert_ending(trial.run(ada)[ada.ref], *_done(trial))
        trial.assert_gone(ada)
        trial.assert_untouched(ada)

    def test_many_people_have_answers_of_their_own(self, trial: Trial) -> None:
        """Several at once, one unknown among them, one without a usable identifier: nobody gets another's ending."""
        known = [trial.person(f"person-{n}", related=n % 3) for n in range(5)]
        stays, unknown = trial.person("stays"), trial.person("unknown")
        trial.seed(stays, *known)
        strange = plant("strange", Identifier("conformance_only", "Strange"), related=0)
        lines = trial.run(*known, unknown, strange)
        for person in known:
            trial.assert_ending(lines[person.ref], *_done(trial))
        trial.assert_ending(lines[unknown.ref], *_done(trial, Outcome.ABSENT))
        trial.assert_ending(lines[strange.ref], Outcome.NOT_ADDRESSABLE)
        trial.assert_gone(*known)
        trial.assert_untouched(*known)

    def test_one_batch_answers_per_person(self, trial: Trial) -> None:
        """One call to `erase` for the people of a batch gives each of them one answer of the right kind."""
        connector = trial.connect()
        limit = connector.declaration.batch_limit(Operation.ERASE)
        known = [trial.person(f"person-{n}", related=1) for n in range(min(3, limit))]
        trial.seed(*known)
        batch = trial.frozen(connector, *known)
        answers = trial.finish(connector, batch, SuiteLease())
        assert set(answers) == {p.ref for p in known}
        trial.assert_gone(*known)

    def test_without_a_usable_identifier_nobody_is_erased(self, trial: Trial) -> None:
        """Doing nothing is never success."""
        ada = trial.seed_with_neighbours()
        connector, before = trial.connect(), trial.peoples_rows()
        strange = Subject("strange", (Identifier("conformance_only", ada.identifier.value),))
        batch = Batch("conformance-1", (strange,))
        answers = trial.erase(connector, batch, SuiteLease())
        looks = trial.confirm(connector, batch)
        for answer in (*answers.values(), *looks.values()):
            assert isinstance(answer, Answer)
            assert answer.kind is AnswerKind.NOT_ADDRESSABLE, f"answered {answer.kind.value}"
        assert trial.peoples_rows() == before

    def test_locate_reads_only(self, trial: Trial) -> None:
        """What is there is counted and nothing is changed."""
        connector = trial.connect()
        if not trial.can_locate(connector):
            pytest.skip(f"{trial.bench.name} declares no locate")
        ada, nobody = trial.seed_with_neighbours(), trial.person("nobody")
        before = trial.peoples_rows()
        lines = trial.run(ada, nobody, operation=Operation.LOCATE, connector=connector)
        trial.assert_ending(lines[ada.ref], Outcome.LOCATED)
        trial.assert_ending(lines[nobody.ref], Outcome.NOTHING_FOUND)
        assert sum(lines[ada.ref].records.values()) >= 1
        assert trial.peoples_rows() == before, "locate changed something"

    def test_records_outside_the_plan_are_not_touched(self, trial: Trial) -> None:
        """Erasing by records: what a fresh search finds and the plan doesn't hold is reported, not erased."""
        connector = trial.connect()
        if connector.declaration.erases_by is not ErasesBy.RECORDS:
            pytest.skip(f"{trial.bench.name} erases by identifiers")
        ada = trial.seed_with_neighbours()
        before = trial.peoples_rows()
        answer = trial.erase_to_the_end(connector, trial.batch(ada), SuiteLease())[ada.ref]
        assert isinstance(answer, Answer), f"erase answered {answer!r}"
        assert answer.kind is AnswerKind.PARTIAL
        assert answer.found is not None, "the unplanned records come back as found"
        assert answer.found.records
        assert trial.peoples_rows() == before, "an unplanned record was touched"

    def test_suppresses_without_creating_anybody(self, trial: Trial) -> None:
        """Known people are suppressed; unknown ones aren't created in order to be."""
        connector = trial.connect()
        if Operation.SUPPRESS not in connector.declaration.operations:
            pytest.skip(f"{trial.bench.name} declares no suppress")
        ada, nobody = trial.seed_with_neighbours(), trial.person("nobody")
        lines = trial.run(ada, nobody, operation=Operation.SUPPRESS, connector=connector)
        trial.assert_ending(lines[ada.ref], Outcome.SUPPRESSED, Outcome.ACCEPTED)
        trial.assert_ending(lines[nobody.ref], Outcome.NOTHING_FOUND, Outcome.SUPPRESSED, Outcome.ACCEPTED)
        trial.assert_untouched(ada)
        assert not trial.residue(nobody), "a person was created"

    def test_sends_no_foreign_identifier(self, trial: Trial) -> None:
        """Everything that goes to the vendor about a person is this person's, however near the others are."""
        trial.needs(Need.HTTP)
        ada = trial.seed_with_neighbours()
        trial.sandbox.journal.clear()
        trial.run(ada)
        sent = "\n".join(_sent(call) for call in trial.sandbox.journal).casefold()
        own = {trace.casefold() for trace in trial.bench.traces(ada)}
        for trace in sorted(own, key=len, reverse=True):
            sent = sent.replace(trace, "")
        for other in trial.neighbours(ada):
            for trace in trial.bench.traces(other):
                assert trace.casefold() not in sent, f"{other.ref}'s identifier was sent to the vendor"

    def test_two_people_who_share_are_ambiguous(self, trial: Trial) -> None:
        """Two people of one run with the same identifier: nothing is done for either of them."""
        ada = trial.seed_with_neighbours()
        other = plant("other", ada.identifier, related=0)
        before = trial.peoples_rows()
        lines: dict[str, Line] = trial.run(ada, other)
        for line in lines.values():
            trial.assert_ending(line, Outcome.AMBIGUOUS)
        assert trial.peoples_rows() == before, "an ambiguous record was touched"


def _difficult_people(trial: Trial) -> tuple[list[Plant], list[Plant]]:
    """One person per difficulty, and the strangers who look like them, each once."""
    kind = trial.bench.kind
    values = difficult(kind)
    if not values:
        pytest.skip(f"{trial.bench.name} knows people by {kind}, which has no difficult values")
    people = [plant(difficulty, Identifier(kind, value), related=0) for difficulty, value in values.items()]
    strangers = {other.identifier: other for person in people for other in trial.neighbours(person)}
    return people, list(strangers.values())


def _done(trial: Trial, verified: Outcome = Outcome.ERASED_VERIFIED) -> tuple[Outcome, ...]:
    """How a good ending is called: a connector whose vendor offers no look says so."""
    declared = trial.bench.connector().declaration
    return (verified,) if declared.can_confirm else (Outcome.ERASED_UNVERIFIED,)


def _sent(call: dict[str, object]) -> str:
    body = str(call["body"])
    try:
        body = json.dumps(json.loads(body), ensure_ascii=False)
    except ValueError:
        body = unquote(body)
    return f"{unquote(str(call['path']))} {call['query']} {body}"
