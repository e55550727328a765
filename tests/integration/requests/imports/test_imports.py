"""An import is steered by one row: paused, nothing of it is done; cancelled, what hasn't ended is revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from connectors.base.values import Identifier
from connectors.testing.sandbox.sample_world import SamplePerson
from service.domain.access.api_key import Caller
from service.domain.errors import NotFound, WrongState
from service.domain.requests.imports import ImportFormat
from service.execution import select as pick_steps
from service.execution import store as lease_store
from service.execution.due import due_systems, has_due_identities
from service.execution.heartbeat import renew_lease
from service.execution.lease import lease_steps as lease
from service.requests.deadlines import mark_overdue
from service.requests.identity.resolve import lease_identities
from service.requests.imports.accept_rows import Accepted, Line, accept_lines
from service.requests.imports.begin import Import, begin_import, receive_import
from service.requests.imports.control import cancel_import, pause_import, resume_import, revoke_cancelled
from service.requests.imports.paused import HALTED_IMPORTS
from service.requests.intake.validate import Submission, SubmittedIdentifier
from tests.company import Company
from tests.drive import turn
from tests.scenes import caller, effects, endings, person_in, quicken, write
from workers.tasks import control

pytestmark = pytest.mark.usefixtures("replayed")


def imported(company: Company, *people: SamplePerson) -> tuple[Import, list[UUID]]:
    """An import of these people, and their requests."""
    by = caller()
    importing = begin_import(company.stores, by, uuid4().hex, ImportFormat.JSONL)
    at = datetime.now(UTC)
    lines = [
        Line(
            number,
            Submission(
                kind="erasure",
                regime="gdpr",
                identifiers=(SubmittedIdentifier(Identifier("email", person.emails[0]), "email_link", at),),
                received_at=at,
                external_reference=None,
                submitted_by=by.key_id,
            ),
        )
        for number, person in enumerate(people, start=1)
    ]
    results = [verdict.result for verdict in accept_lines(company.stores, company.settings, importing, lines)]
    return importing, [result.request_id for result in results if isinstance(result, Accepted)]


def state_of(company: Company, importing: Import) -> str:
    found: str = company.rows("SELECT state FROM imports WHERE id = :id", id=importing.id)[0].state
    return found


def test_nothing_of_a_paused_import_is_begun_and_nobody_else_waits_for_it(company: Company) -> None:
    quicken(company)
    person, other = person_in(company, "support"), person_in(company, "support", skip=1)
    importing, (request,) = imported(company, person)
    pause_import(company.stores, importing.id, actor="cli")

    assert not has_due_identities(company.stores)
    assert lease_identities(company.stores, company.settings, limit=10) == []
    # Neither somebody else nor the same person's own request waits behind the paused one.
    urgent, own = company.submit(other), company.submit(person)
    assert company.request(own).duplicate_of is None
    company.drive()
    assert {company.request(each).state for each in (urgent, own)} == {"fulfilled"}
    assert (company.request(request).state, company.steps(request)) == ("open", {})

    resume_import(company.stores, importing.id, actor="cli")
    company.drive()
    assert company.request(request).state == "fulfilled"
    with pytest.raises(WrongState):
        resume_import(company.stores, importing.id, actor="cli")
    with pytest.raises(NotFound):
        pause_import(company.stores, uuid4(), actor="cli")


def test_the_sweep_completes_an_import_whose_requests_are_answered(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicken(company)
    importing, (request,) = imported(company, person_in(company, "support"))
    receive_import(company.stores, importing, lines=1, accepted=1, refused=0)
    monkeypatch.setattr(control, "runtime", lambda: company.runtime)
    control.sweep()
    assert state_of(company, importing) == "running"
    company.drive()
    control.sweep()
    assert (company.request(request).state, state_of(company, importing)) == ("fulfilled", "completed")


def begun(company: Company) -> tuple[Import, UUID]:
    """An import of one person whose plan is frozen: the next thing would be to erase."""
    quicken(company)
    importing, (request,) = imported(company, person_in(company, "support"))
    while company.request(request).plan_version == 0:
        turn(company.runtime)
    return importing, request


def test_steps_of_a_paused_import_rest_and_its_clock_runs(company: Company) -> None:
    importing, request = begun(company)
    before = effects(company)
    pause_import(company.stores, importing.id, actor="cli")

    company.drive(patience_seconds=0.0)
    assert due_systems(company.stores, company.settings, nudge_again_seconds=0.0) == []
    assert effects(company) == before
    write(company, "UPDATE requests SET respond_by = clock_timestamp() - interval '1 second'")
    assert mark_overdue(company.stores) == 1
    assert company.request(request).overdue_at is not None

    resume_import(company.stores, importing.id, actor="cli")
    company.drive()
    assert company.request(request).state == "fulfilled"
    assert effects(company) != before


def test_without_the_gate_a_paused_import_goes_on(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    importing, _ = begun(company)
    before = effects(company)
    pause_import(company.stores, importing.id, actor="cli")

    halted = r"\s+".join(map(re.escape, HALTED_IMPORTS.split()))
    selecting = [(pick_steps, name) for name in ("_HEADS", "_OF_ALL_QUEUES", "_OF_ONE_QUEUE")]
    locking = [(lease_store, name) for name in ("_LOCK_DUE_OF_BATCH", "_LOCK_DUE_BY_ID")]
    for module, name in selecting + locking:
        without, count = re.subn(rf"\S+ NOT IN \(\s*{halted}\s*\)", "true", getattr(module, name))
        assert count
        monkeypatch.setattr(module, name, without)
    company.drive(patience_seconds=0.3)

    assert effects(company) != before


def test_a_pass_that_runs_stops_before_its_next_effect(company: Company) -> None:
    importing, request = begun(company)
    leased = next(
        found for s in company.settings.systems if (found := lease(company.stores, company.settings, s.config.name))
    )
    assert renew_lease(company.stores, company.settings, leased) == frozenset()

    pause_import(company.stores, importing.id, actor="cli")

    (ref,) = renew_lease(company.stores, company.settings, leased)
    assert ref == next(step.ref for step in leased.steps if step.request_id == request)


def test_a_cancelled_import_ends_with_everything_revoked(company: Company) -> None:
    quicken(company)
    first, second = person_in(company, "support"), person_in(company, "support", skip=1)
    importing, (one, same, two) = imported(company, first, first, second)
    outside = company.submit(second)
    assert (company.request(same).duplicate_of, company.request(outside).duplicate_of) == (one, two)

    cancel_import(company.stores, importing.id, actor="cli")
    assert state_of(company, importing) == "cancelling"
    with pytest.raises(WrongState):
        accept_lines(company.stores, company.settings, importing, [])
    assert revoke_cancelled(company.stores) == 3

    assert state_of(company, importing) == "cancelled"
    for request in (one, same, two):
        assert (company.request(request).state, company.request(request).reason) == ("revoked", "import_cancelled")
    # Who had been linked to one of them goes a way of their own.
    company.drive()
    assert company.request(outside).state == "fulfilled"
    assert company.residue(first) != []
    with pytest.raises(WrongState):
        pause_import(company.stores, importing.id, actor="cli")
    (row,) = company.rows("SELECT key FROM imports")
    with pytest.raises(WrongState):
        begin_import(company.stores, Caller(importing.submitted_by, frozenset()), row.key, ImportFormat.JSONL)


def test_what_a_cancelled_import_had_begun_is_looked_at_to_its_end(company: Company) -> None:
    importing, request = begun(company)
    # One vendor has been asked to erase, the others not yet.
    while not effects(company):
        turn(company.runtime)
    cancel_import(company.stores, importing.id, actor="cli")
    company.drive()

    assert state_of(company, importing) == "cancelled"
    assert company.request(request).state == "revoked"
    ends = {state for state, _ in endings(company, request).values()}
    assert ends <= {"erased_verified", "absent", "retained"}
    assert "erased_verified" in ends
