"""What the evidence says was erased from an org is what its stand-in saw go, however often a step was answered.

An answer that nobody recorded, a bin that nobody may empty, a refused record and a later version of the plan: each
makes `erase` answer about the same records again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from connectors.base.transitions.states import Phase
from connectors.base.values import Answer, AnswerKind
from connectors.salesforce import erasure
from connectors.salesforce.deletion.preparation import Person, Preparation
from connectors.salesforce.policy import SalesforcePolicy
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.testing.sandbox.sample_world import SamplePerson
from service.cli.demo.world import ORG
from service.domain.execution.events import Decision, ResolutionReason
from service.execution import run_batch
from service.execution.expire_leases import sweep_leases
from service.execution.steps.resolve import resolve_step
from tests.company import Company
from tests.scenes import changed, use, write

# Rows that the org makes by itself and takes away with their record: they are no records to be counted.
_UNCOUNTED = frozenset({"CaseHistory", "ContactHistory"})
_TROUBLES = ("unrecorded", "binned", "vetoed", "planned_anew")
_WITH_ORG = {"org": True, "accounts": ["support"], "people": 30}


class _Troubled:
    """Stands between the connector's answers and their recording, and has seen every answer of an erasing call."""

    def __init__(
        self, company: Company, org: SalesforceSandbox, person: SamplePerson, troubles: frozenset[str]
    ) -> None:
        self.kinds: list[AnswerKind] = []
        self._company, self._org, self._person, self._troubles = company, org, person, troubles
        self._losing = 3 if "unrecorded" in troubles else 0
        self._record = run_batch.record_answers

    def record(self, stores: Any, settings: Any, leased: Any, results: Any, *rest: Any) -> Any:
        """As `record_answers`; the process dies before the first answers, and after an erasure the person returns."""
        answers = [a for a in results.values() if isinstance(a, Answer)]
        if leased.system != ORG or leased.phase is not Phase.ERASE or not answers:
            return self._record(stores, settings, leased, results, *rest)
        self.kinds += [a.kind for a in answers]
        if self._losing and any(answers[0].records.values()):
            self._losing -= 1
            write(self._company, "UPDATE batches SET lease_until = clock_timestamp() WHERE id = :id", id=leased.id)
            sweep_leases(stores)
            return None
        recorded = self._record(stores, settings, leased, results, *rest)
        if answers[0].kind is AnswerKind.ACCEPTED:
            self._org.options["purge_after"] = 0.2
        if "planned_anew" in self._troubles and answers[0].kind is AnswerKind.ERASED:
            self._troubles -= {"planned_anew"}
            self._returns()
        return recorded

    def _returns(self) -> None:
        """A new lead, and a contact that lost a merge to a new one: in the bin without us, unlike what we put there."""
        self._org.options.pop("purge_after", None)  # the loser lies in the bin until somebody empties it
        email, me = self._person.emails[0], self._person.ref
        winner = _record("Contact", me, "late", LastName="L", Email=email)
        loser = _record("Contact", me, "late-loser", LastName="L", Email=email, MasterRecordId="@late") | {
            "deleted": True
        }
        lead = _record("Lead", me, "late-lead", LastName="L", Company="-", Email=email)
        self._org.seed({"records": [winner, loser, lead]})


def _record(kind: str, person: str, ref: str, **fields: Any) -> dict[str, Any]:
    return {"object": kind, "person": person, "ref": ref, "fields": fields}


@pytest.mark.parametrize("company", [_WITH_ORG], indirect=True)
@pytest.mark.parametrize(
    "troubles", [_TROUBLES, *(pytest.param((one,), marks=pytest.mark.long) for one in (*_TROUBLES, "none"))]
)
def test_the_evidence_counts_what_went(
    company: Company, monkeypatch: pytest.MonkeyPatch, troubles: tuple[str, ...]
) -> None:
    told, gone, kinds = _erased(company, monkeypatch, frozenset(troubles))
    assert told == gone
    if "binned" in troubles:
        assert AnswerKind.ACCEPTED in kinds
    if "vetoed" in troubles:
        assert AnswerKind.PARTIAL in kinds
    if "unrecorded" in troubles:
        assert len(kinds) > 3


@pytest.mark.long
@pytest.mark.parametrize("company", [_WITH_ORG], indirect=True)
@pytest.mark.parametrize("trouble", ["binned", "vetoed"])
def test_a_connector_that_tells_its_batch_again_counts_twice(
    company: Company, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(erasure, "unreported", lambda done, before, counted: dict(done))
    told, gone, _ = _erased(company, monkeypatch, frozenset({trouble}))
    assert sum(told.values()) > sum(gone.values())


@pytest.mark.long
@pytest.mark.parametrize("company", [_WITH_ORG], indirect=True)
def test_whoever_takes_all_in_the_bin_for_told_counts_too_few(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_in_the_bin(ready: Preparation, ref: str, person: Person) -> set[tuple[str, str]]:
        return {key for key, root in person.snapshot.roots.items() if root.is_deleted}

    monkeypatch.setattr(Preparation, "_told_before", all_in_the_bin)
    told, gone, _ = _erased(company, monkeypatch, frozenset({"planned_anew"}))
    assert sum(told.values()) < sum(gone.values())


def _erased(
    company: Company, monkeypatch: pytest.MonkeyPatch, troubles: frozenset[str]
) -> tuple[Counter[str], Counter[str], list[AnswerKind]]:
    """One person's erasure through these troubles: what the step says went, what went, how it was answered."""
    org, person = company.sandboxes[ORG], company.world.ordinary[0]
    assert isinstance(org, SalesforceSandbox)
    before = org.snapshot({person.ref})
    theirs = _rows_of(org, person.ref)
    vetoed = org.id_of(f"{person.ref}-card")
    if "binned" in troubles:
        _purge_nothing(company)
    if "vetoed" in troubles:
        org.options["vetoes"] = {vetoed: "FIELD_CUSTOM_VALIDATION_EXCEPTION"}
    troubled = _Troubled(company, org, person, troubles)
    monkeypatch.setattr(run_batch, "record_answers", troubled.record)
    request = company.submit(person)
    company.drive()
    if "vetoed" in troubles:
        _retry_after_the_veto(company, org, request)
    theirs |= {i: _name(org, i) for i, ref in org.state["marks"].items() if ref == person.ref}

    step = company.steps(request)[ORG]
    assert (step.state, step.reason) == ("erased_verified", None)
    assert _rows_of(org, person.ref) == {}
    # What lay in the bin before goes with the bin's time, whosever it was.
    binned = {i for i, row in before["rows"].items() if row.get("IsDeleted") is True}
    assert [change for change in org.changed_bystanders(before) if change["id"] not in binned] == []
    gone = Counter(name for name in theirs.values() if name not in _UNCOUNTED)
    return Counter({n: c for n, c in step.erased.items() if n not in _UNCOUNTED}), gone, troubled.kinds


def _rows_of(org: SalesforceSandbox, person: str) -> dict[str, str]:
    """Object by id of what the org holds of a person, bin included."""
    org.advance()
    return {row["Id"]: name for name, row in org.store.rows() if row.get("@person") == person}


def _name(org: SalesforceSandbox, record_id: str) -> str:
    found = org.schema.of_id(record_id)
    assert found is not None
    return found.name


def _purge_nothing(company: Company) -> None:
    """The bin is left alone, as by who may not empty it; it empties itself soon after."""
    (system,) = (s.config for s in company.settings.systems if s.config.name == ORG)
    assert isinstance(system.policy, SalesforcePolicy)
    delays = {**system.delays, "purge_after": timedelta(seconds=0.5)}
    policy = system.policy.model_copy(update={"purge": "none"})
    use(company, replace(company.settings, systems=changed(company, ORG, policy=policy, delays=delays)))


def _retry_after_the_veto(company: Company, org: SalesforceSandbox, request: UUID) -> None:
    """A human sees the refused record, has the trigger removed, and has the step tried again."""
    step = company.steps(request)[ORG]
    assert (step.state, step.reason) == ("parked", "vetoed")
    del org.options["vetoes"]
    resolve_step(
        company.stores, request, ORG, decision=Decision.RETRY, reason=ResolutionReason.CHECKED_BY_HAND, actor="cli"
    )
    company.drive()
