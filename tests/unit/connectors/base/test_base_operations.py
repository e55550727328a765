"""One pass: one answer per person and nobody else's, and no absence without sight before and after the look."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connectors.base import operations
from connectors.base.errors import (
    AnswerNotUnderstood,
    CredentialsRefused,
    LeaseLost,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.interface import ErasesBy, Operation
from connectors.base.runner import MemoryLease
from connectors.base.values import Answer, Batch, Located, Record, Subject
from tests.unit.connectors.base.fake_connector import DECLARATION, FakeConnector, person

ADA, BOB = person("ada"), person("bob")
STRANGE = person("strange", "x", kind="passport")


def batch(*people: Subject) -> Batch:
    return Batch("k", people or (ADA, BOB))


def test_people_without_a_usable_identifier_are_not_sent() -> None:
    connector = FakeConnector()
    assert operations.erase(connector, batch(ADA, STRANGE), MemoryLease())["strange"] == Answer.not_addressable()
    error = operations.locate(connector, batch(ADA, STRANGE))["strange"]
    assert isinstance(error, RequestRefused)
    assert connector.log == [("erase", ("ada",)), ("locate", ("ada",))]


def test_identifiers_of_other_kinds_stay_with_us() -> None:
    seen = []
    connector = FakeConnector({"erase": lambda s, *_: seen.append(s.identifiers) or Answer.erased({})})
    mixed = Subject("ada", ADA.identifiers + STRANGE.identifiers)
    operations.erase(connector, batch(mixed), MemoryLease())
    assert seen == [ADA.identifiers]


def test_a_frozen_record_makes_addressable_only_where_records_are_erased() -> None:
    subject = Subject("s", (), (Record("user", "1"),))
    assert operations.is_addressable(FakeConnector(), subject)
    assert not operations.is_addressable(FakeConnector(erases_by=ErasesBy.IDENTIFIERS), subject)


def test_an_error_of_the_call_is_everyones() -> None:
    connector = FakeConnector()
    connector.check_error = lambda _: CredentialsRefused("unauthorized", status=401)
    found = operations.locate(connector, batch())
    assert {type(e) for e in found.values()} == {CredentialsRefused}
    assert connector.log == []


def test_lease_lost_passes_through() -> None:
    def lost(*_: object) -> Answer:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        operations.erase(FakeConnector({"erase": lost}), batch(), MemoryLease())


def test_an_answer_for_somebody_else_spoils_the_whole_call() -> None:
    connector = FakeConnector()
    connector.erase = lambda b, lease: {"ada": Answer.erased({}), "eve": Answer.erased({})}  # type: ignore[method-assign]
    answers = operations.erase(connector, batch(), MemoryLease())
    assert set(answers) == {"ada", "bob"}
    assert all(isinstance(a, AnswerNotUnderstood) and a.effect_unknown for a in answers.values())


def test_a_missing_answer_is_not_success() -> None:
    connector = FakeConnector()
    connector.erase = lambda b, lease: {"ada": Answer.erased({})}  # type: ignore[method-assign]
    answers = operations.erase(connector, batch(), MemoryLease())
    assert isinstance(answers["bob"], AnswerNotUnderstood)
    assert answers["ada"] == Answer.erased({})


def test_answers_of_the_wrong_kind_are_not_understood() -> None:
    wrong = {
        "erase": Answer.suppressed(),
        "confirm": Answer.not_suppressed(),
        "suppress": Answer.not_suppressed(),
        "read_suppression": Answer.erased({}),
    }
    scripts = {name: lambda *_, a=answer: a for name, answer in wrong.items()}
    connector = FakeConnector(scripts, operations=frozenset(Operation))
    for answers in (
        operations.erase(connector, batch(ADA), MemoryLease()),
        operations.confirm_absence(connector, batch(ADA)),
        operations.suppress(connector, batch(ADA), MemoryLease()),
        operations.read_suppression(connector, batch(ADA)),
    ):
        assert isinstance(answers["ada"], AnswerNotUnderstood)


def test_absence_counts_only_with_sight_after_the_look() -> None:
    connector = FakeConnector()
    connector.check_error = lambda n: CredentialsRefused("no_visibility") if n == 2 else None
    assert isinstance(operations.confirm_absence(connector, batch(ADA))["ada"], CredentialsRefused)
    assert connector.checks == 2


def test_without_absence_one_proof_is_enough() -> None:
    later = Answer.accepted(datetime(2026, 1, 1, tzinfo=UTC))
    connector = FakeConnector({"confirm": lambda *_: later})
    assert operations.confirm_absence(connector, batch(ADA)) == {"ada": later}
    assert connector.checks == 1


def test_one_persons_error_stays_theirs() -> None:
    script = {"locate": lambda s, *_: Located() if s.ref == "ada" else TemporarilyUnavailable("timeout")}
    found = operations.locate(FakeConnector(script), batch())
    assert found["ada"] == Located()
    assert isinstance(found["bob"], TemporarilyUnavailable)


def test_only_people_with_an_offered_scope_are_suppressed() -> None:
    connector = FakeConnector(operations=frozenset(Operation))
    sold = replace(ADA, scopes=("do_not_sell",))
    mixed = replace(BOB, scopes=("do_not_contact:email", "do_not_sell"))
    for answers in (
        operations.suppress(connector, batch(sold, mixed), MemoryLease()),
        operations.read_suppression(connector, batch(sold, mixed)),
    ):
        assert answers[ADA.ref] == Answer.not_addressable(operations.SCOPE_NOT_OFFERED)
        assert answers[BOB.ref] == Answer.suppressed()
    assert connector.log == [("suppress", (BOB.ref,)), ("read_suppression", (BOB.ref,))]


def test_a_suppression_read_by_a_credential_that_went_blind_is_not_believed() -> None:
    connector = FakeConnector(operations=frozenset(Operation))
    connector.check_error = lambda n: CredentialsRefused("no_visibility") if n == 2 else None
    answer = operations.read_suppression(connector, batch(ADA))[ADA.ref]
    assert isinstance(answer, CredentialsRefused)
    assert answer.code == "no_visibility"


def test_a_connector_that_suppresses_names_its_scopes() -> None:
    named = frozenset({"do_not_sell"})
    for operations_, scopes in (
        ({Operation.ERASE, Operation.SUPPRESS}, frozenset()),
        ({Operation.ERASE}, named),
        ({Operation.ERASE, Operation.READ_SUPPRESSION}, frozenset()),
    ):
        with pytest.raises(ValueError, match="suppress"):
            replace(DECLARATION, operations=frozenset(operations_), suppression_scopes=scopes)
