"""Whose is it: shared values, colleagues, other people's records; and what the calls themselves show."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import pytest

from connectors.base import operations
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Located, Record, Subject
from connectors.salesforce.deletion import writing
from connectors.salesforce.deletion.writing import Verdict
from connectors.testing.conformance.lease import SuiteLease

from ..connecting import Served, serving
from ..world import HOUSEHOLD_PHONE, World, hard_world, ordinary_world, residue

pytestmark = pytest.mark.long


def _id(org: Served, ref: str) -> str:
    return str(org.sandbox.state["refs"][ref])


def _frozen(org: Served, subject: Subject) -> Batch:
    located = org.connect().locate(Batch("k", (subject,)))[subject.ref]
    assert isinstance(located, Located)
    return Batch("k", (Subject(subject.ref, subject.identifiers, located.records),))


def test_a_kind_that_is_shared_proves_nobody_alone() -> None:
    with serving(hard_world(tasks=1)) as org:
        before = org.sandbox.snapshot(())
        batch = _frozen(org, Subject("home", (Identifier("phone", HOUSEHOLD_PHONE),)))
        assert {r.object for r in batch.subjects[0].records} >= {"Contact"}
        connector = org.connect({"shared_kinds": ["phone"]})
        answer = operations.erase(connector, batch, SuiteLease())["home"]
        assert isinstance(answer, Answer)
        assert (answer.kind, answer.reason) == (AnswerKind.AMBIGUOUS, "shared_kind_only")
        assert org.sandbox.changed_bystanders(before) == []


def test_a_household_phone_never_leads_to_the_business_account() -> None:
    with serving(hard_world(tasks=1)) as org:
        batch = _frozen(org, Subject("home", (Identifier("phone", HOUSEHOLD_PHONE),)))
        assert "Account" not in {r.object for r in batch.subjects[0].records}


def test_a_colleague_is_for_a_human_to_decide() -> None:
    with serving(hard_world(tasks=1)) as org:
        batch = _frozen(org, Subject("clerk", (Identifier("email", "clerk@example.test"),)))
        answer = operations.erase(org.connect(), batch, SuiteLease())["clerk"]
        assert isinstance(answer, Answer)
        assert (answer.kind, answer.reason) == (AnswerKind.AMBIGUOUS, "internal_user")
        user = org.sandbox.store.row(_id(org, "clerk"))
        assert user is not None
        assert user["Email"] == "clerk@example.test"


def test_a_record_in_two_plans_of_a_batch_is_nobodys() -> None:
    with serving(ordinary_world(2)) as org:
        before = org.sandbox.snapshot(())
        shared = Record("Contact", _id(org, "p0"))
        people = tuple(Subject(s.ref, s.identifiers, (shared,)) for s in (org.subject("p0"), org.subject("p1")))
        answers = operations.erase(org.connect(), Batch("k", people), SuiteLease())
        for answer in answers.values():
            assert isinstance(answer, Answer)
            assert answer.kind is AnswerKind.AMBIGUOUS
        assert org.sandbox.changed_bystanders(before) == []


def test_a_value_on_somebody_elses_case_is_emptied_and_the_case_stays() -> None:
    world = World()
    world.add(None, "Contact", "bob", LastName="B", Email="bob@example.test")
    world.add(None, "Case", "bobs", ContactId="@bob", Status="New", Subject="Bob's", SuppliedEmail="ada@example.test")
    with serving(world) as org:
        batch = _frozen(org, Subject("ada", (Identifier("email", "ada@example.test"),)))
        connector, lease = org.connect(), SuiteLease()
        operations.erase(connector, batch, lease)
        case = org.sandbox.store.row(_id(org, "bobs"))
        assert case is not None
        assert case["SuppliedEmail"] is None
        assert case["Subject"] == "Bob's"
        assert not case["IsDeleted"]
        look = operations.confirm_absence(connector, batch)["ada"]
        assert isinstance(look, Answer)
        assert look.kind is AnswerKind.ALREADY_ABSENT


def test_located_roots_carry_their_other_identifiers_and_nothing_of_the_neighbours() -> None:
    with serving(hard_world(tasks=1)) as org:
        found = org.connect().locate(Batch("k", (org.subject("ada"),)))["ada"]
        assert isinstance(found, Located)
        values = {i.value.lower() for i in found.identifiers}
        assert "ada.before@example.test" in values, "the address of the lead that was converted"
        assert "bob@example.test" not in values
        assert not any("obrien" in value for value in values)


def test_related_records_can_be_counted_before_anything_is_done() -> None:
    with serving(ordinary_world(1)) as org:
        found = org.connect({"count_related": True}).locate(Batch("k", (org.subject("p0"),)))["p0"]
        assert isinstance(found, Located)
        assert found.counts["Case"] == 6
        assert found.counts["CaseComment"] == 12


def _deleted(call: dict[str, object]) -> list[str]:
    parts = json.loads(str(call["body"]))["compositeRequest"] if "composite" in str(call["path"]) else []
    return [
        i for p in parts if p["method"] == "DELETE" for i in re.search(r"ids=([^&]*)", unquote(p["url"]))[1].split(",")
    ]  # type: ignore[index]


def test_roots_go_last_and_only_what_was_deleted_by_a_call_is_purged() -> None:
    with serving(ordinary_world(1)) as org:
        org.sandbox.journal.clear()
        org.erase("p0")
        waves = [ids for call in org.sandbox.journal if (ids := _deleted(call))]
        roots = {_id(org, ref) for ref in ("p0", "p0-lead", "p0-individual")}
        assert set(waves[-1]) == roots
        assert not any(roots & set(wave) for wave in waves[:-1])
        purged = {
            i for c in org.sandbox.journal if "Soap" in c["path"] for i in re.findall(r"<urn:ids>(\w+)<", c["body"])
        }
        assert purged
        assert purged <= {i for wave in waves for i in wave}


def test_rows_that_claim_success_are_looked_at_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes HTTP 200 for success says that all is done: the look by id knows better."""
    monkeypatch.setattr(writing, "_verdicts", lambda keys, answer: dict.fromkeys(keys, Verdict.DONE))
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["vetoes"] = {_id(org, "p0-file0"): "FIELD_CUSTOM_VALIDATION_EXCEPTION"}
        done = org.erase("p0", wait=1)
        assert residue(org.sandbox, org.world.people["p0"])
        assert done.lines["p0"].outcome is Outcome.PARKED
