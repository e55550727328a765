"""Systems that are taken away and come back, that lie, fail or are silent: no pair is lost, none is called done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from connectors.testing.sandbox.faults import Fault, FaultKind
from service.domain.execution.events import Decision, ResolutionReason
from service.execution import expire_leases as sweep_leases
from service.execution import record as record_answers
from service.execution.lease import LeasedBatch, lease_steps
from service.execution.run_batch import execute_batch
from service.execution.steps.resolve import resolve_step
from service.execution.systems.sync_config import sync_systems
from service.store.encryption.key_store import batch_owner, request_owner
from tests.company import Company
from tests.scenes import (
    changed,
    effects,
    endings,
    is_due_in,
    person_in,
    quicken,
    stop_before_erasing,
    turn_until,
    use,
    without,
    write,
)

REMOVED = ("parked", "system_removed")
DONE = {("erased_verified", None), ("absent", None)}
NOT_DONE = {"due", "accepted", "parked"}


def lease(company: Company, system: str) -> LeasedBatch:
    leased = lease_steps(company.stores, company.settings, system)
    assert leased is not None
    return leased


def test_a_removed_systems_pairs_stay_and_go_on_when_it_is_back(company: Company) -> None:
    quicken(company)
    whole = company.settings
    first, second = person_in(company, "support"), person_in(company, "support", skip=1)
    early, late = company.submit(first), company.submit(second)
    stop_before_erasing(company, early, "support")
    leased = lease(company, "support")
    assert {step.request_id for step in leased.steps} >= {early}
    # Taken away while one worker, with the settings it started with, is in the call.
    sync_systems(company.stores, without(company, "support"))
    execute_batch(company.runtime, leased)
    company.drive()

    for request in (early, late):
        assert endings(company, request)["support"] == REMOVED
        assert len(company.steps(request)) == 5
        assert company.request(request).state == "in_progress"
    assert lease_steps(company.stores, company.settings, "support") is None
    sync_systems(company.stores, whole)
    company.drive()
    for request in (early, late):
        assert set(endings(company, request).values()) <= DONE
    assert company.residue(first) == company.residue(second) == []


def test_removed_between_search_and_freeze_and_back_after_it(company: Company) -> None:
    quicken(company)
    whole = company.settings
    person = person_in(company, "support", "mailing")
    request, attested = company.submit(person), company.submit(person_in(company, "mailing", skip=4))
    turn_until(
        company,
        lambda: all(
            company.steps(r).get("support") and company.steps(r)["support"].located for r in (request, attested)
        ),
        only=lambda name: name == "support",
    )
    assert company.steps(request)["support"].state == "waiting"
    sync_systems(company.stores, without(company, "support"))
    company.drive()
    assert endings(company, request)["support"] == endings(company, attested)["support"] == REMOVED
    reason = ResolutionReason.SYSTEM_GONE
    with pytest.raises(Exception, match="connect it again"):
        resolve_step(company.stores, request, "support", decision=Decision.RETRY, reason=reason, actor="cli")
    resolve_step(company.stores, attested, "support", decision=Decision.UNRESOLVED, reason=reason, actor="cli")
    company.drive()
    assert company.request(attested).state == "fulfilled"

    sync_systems(company.stores, whole)
    company.drive()
    assert endings(company, request)["support"] == ("erased_verified", None)
    assert company.residue(person) == []
    assert endings(company, attested)["support"] == ("unresolved", "system_gone")


def test_without_the_recorders_and_the_sweepers_eye_a_step_of_a_removed_system_is_lost(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = record_answers.load_context
    monkeypatch.setattr(record_answers, "load_context", lambda *given: replace(load(*given), is_removed=False))
    monkeypatch.setattr(sweep_leases, "_park_removed", lambda connection, limit: 0)
    quicken(company)
    request = company.submit(person_in(company, "support"))
    stop_before_erasing(company, request, "support")
    leased = lease(company, "support")
    sync_systems(company.stores, without(company, "support"))
    execute_batch(company.runtime, leased)
    assert company.steps(request)["support"].state in ("due", "accepted")
    assert lease_steps(company.stores, company.settings, "support") is None


def half_leased_again(company: Company) -> tuple[UUID, LeasedBatch]:
    """Of a batch of two, one step is leased by a worker that dies; then the other step becomes due."""
    quicken(company)
    people = [person_in(company, "support", skip=n) for n in range(2)]
    requests = [company.submit(p) for p in people]
    for request in requests:
        stop_before_erasing(company, request, "support")
    leased = lease(company, "support")
    assert len(leased.steps) == 2
    write(
        company,
        "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id",
        id=leased.id,
    )
    other = next(s for s in leased.steps if s.request_id == requests[1])
    with company.stores.engine.begin() as connection:
        sweep_leases._free_expired(connection, 200)
    write(
        company,
        "UPDATE steps SET due_at = clock_timestamp() + interval '1 hour' WHERE id = :id",
        id=other.step_id,
    )
    dying = lease(company, "support")
    assert [s.request_id for s in dying.steps] == [requests[0]]
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE id = :id", id=other.step_id)
    write(
        company,
        "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id",
        id=leased.id,
    )
    return requests[0], dying


def test_a_dead_workers_step_is_not_hidden_by_the_batchs_next_lease(company: Company) -> None:
    request, dying = half_leased_again(company)
    # The sweeper comes first: else the next lease of the same batch would be given back with this step inside.
    assert lease_steps(company.stores, company.settings, "support") is None
    sweep_leases.sweep_leases(company.stores)
    again = lease(company, "support")
    assert (again.id, len(again.steps)) == (dying.id, 2)
    execute_batch(company.runtime, again)
    # And if a step were ever left in a batch without a lease, the sweeper finds it.
    write(
        company,
        "UPDATE batches SET lease_until = NULL WHERE id = :id",
        id=dying.id,
    )
    company.drive()
    assert company.steps(request)["support"].state == "erased_verified"
    # Nothing is left of the batch: neither it nor the key of its token.
    assert company.rows("SELECT 1 FROM batches WHERE ended_at IS NULL") == []
    assert company.stores.keys.get([batch_owner(dying.id)]) == {}


def test_a_person_whose_key_is_gone_is_a_humans_and_stops_nobody(company: Company) -> None:
    quicken(company)
    lost, other = (company.submit(person_in(company, "support", skip=n)) for n in range(2))
    for request in (lost, other):
        stop_before_erasing(company, request, "support")
    company.stores.keys.destroy([request_owner(lost)])
    company.drive()
    assert endings(company, lost)["support"] == ("parked", "key_gone")
    assert company.request(other).state == "fulfilled"
    assert company.rows("SELECT 1 FROM steps WHERE state = 'leased'") == []


def test_liars_and_the_blind_are_never_believed(company: Company) -> None:
    quicken(company, max_plan_rounds=1)
    support, eu, mailing = (company.sandboxes[name] for name in ("support", "support-eu", "mailing"))
    person = person_in(company, "support", "support-eu", "mailing")
    # One says "deleted" and deletes nothing; one goes blind; one has a job that never ends.
    support.faults = [Fault(FaultKind.LIE, methods=("DELETE",), times=None)]
    eu.faults = [Fault(FaultKind.BLIND, times=None)]
    mailing.faults = [Fault(FaultKind.LIE, methods=("POST",), times=None)]
    request = company.submit(person)
    company.drive(patience_seconds=0.5)

    steps = company.steps(request)
    assert {steps[name].state for name in ("support", "support-eu", "mailing")} <= NOT_DONE
    assert endings(company, request)["support-eu"] == ("parked", "credentials_refused:no_visibility")
    assert company.request(request).state == "in_progress"
    assert endings(company, request)["mailing"][1] == "still_there"
    # Seeing again, it is tried again, and only then it is true.
    support.faults, eu.faults, mailing.faults = [], [], []
    for name in ("support", "support-eu", "mailing"):
        if company.steps(request)[name].state == "parked":
            reason = ResolutionReason.CAUSE_FIXED
            resolve_step(company.stores, request, name, decision=Decision.RETRY, reason=reason, actor="cli")
    company.drive()
    assert company.residue(person) == []
    assert set(endings(company, request).values()) <= DONE


def test_an_endless_job_stays_accepted_and_a_wrong_address_proves_nothing(company: Company) -> None:
    quicken(company)
    company.sandboxes["support"].options["job_seconds"] = 1e6
    systems = changed(company, "mailing", base_url=company.settings.system("mailing").config.base_url + "/elsewhere")
    use(company, company.settings.__class__(**{**vars(company.settings), "systems": systems}))
    person = next(p for p in company.world.ordinary if company.sandboxes["support"].residue(set(p.residue_values)))
    request = company.submit(person)
    turn_until(company, lambda: "accepted" in {s.state for s in company.steps(request).values()})
    for _ in range(8):
        turn_until(company, lambda: True)
    step = company.steps(request)["support"]
    assert (step.state, step.phase) in {("accepted", "erase"), ("leased", "erase"), ("due", "erase")}
    assert step.due_at is None or step.due_at > step.effect_at
    wrong = company.steps(request)["mailing"]
    assert (wrong.state, wrong.phase) == ("parked", "locate"), "a 404 from a wrong address is no absence"


def test_trouble_is_told_apart_and_one_dead_system_delays_nobody(company: Company) -> None:
    quicken(company, locate_timeout_seconds=1.0, order_timeout_seconds=0.0)
    systems = changed(company, "support-eu", base_url="http://127.0.0.1:9/dead")
    whole = company.settings
    use(company, whole.__class__(**{**vars(whole), "systems": systems}))
    support, mailing = company.sandboxes["support"], company.sandboxes["mailing"]
    person = person_in(company, "support", "support-eu", "mailing")
    request = company.submit(person)
    # A page instead of an answer: once is enough, nobody knows what it means.
    mailing.faults = [Fault(FaultKind.HTML, times=1)]
    support.faults = [Fault(FaultKind.STATUS, status=429, retry_after="40", times=1)]
    turn_until(company, lambda: company.request(request).plan_version >= 1)

    step = company.steps(request)["support"]
    assert (step.state, step.phase) == ("due", "locate")
    assert timedelta(seconds=30) < step.due_at - datetime.now(UTC) <= timedelta(seconds=40)
    assert endings(company, request)["mailing"][1].startswith("answer_not_understood")
    assert company.steps(request)["mailing"].attempts == 1
    turn_until(company, lambda: company.steps(request)["warehouse"].phase == "confirm")
    dead = company.steps(request)["support-eu"]
    assert (dead.state, dead.phase, dead.located) == ("due", "locate", False)

    # It is back; the 5xx of the other is waited for; a human had a look at the page.
    use(company, whole)
    company.runtime._connectors.pop("support-eu").close()
    support.faults = [Fault(FaultKind.STATUS, status=503, times=1)]
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state = 'due'")
    company.runtime.gate._shut_until.clear()  # the vendor's forty seconds are over
    reason = ResolutionReason.CAUSE_FIXED
    resolve_step(company.stores, request, "mailing", decision=Decision.RETRY, reason=reason, actor="cli")
    company.drive(patience_seconds=6.0)
    assert set(endings(company, request).values()) <= DONE
    assert company.residue(person) == []
    assert company.request(request).state == "fulfilled"
    codes = company.rows("SELECT DISTINCT code FROM attempts WHERE answer = 'temporarily_unavailable'")
    assert {"rate_limited", "vendor_unavailable"} <= {row.code for row in codes}


def test_the_order_is_kept_and_soft(company: Company) -> None:
    quicken(company, data_key_retention_seconds=3600.0)
    person = person_in(company, "support")
    request = company.submit(person)
    stop_before_erasing(company, request, "warehouse")
    # Nothing that reads from the warehouse begins before it; the identity graph's rows go last.
    assert effects(company) == []
    assert {s.attempts for s in company.steps(request).values() if s.phase == "erase"} == {1}
    turn_until(company, lambda: company.steps(request)["warehouse"].effect_at is not None)
    turn_until(company, lambda: company.request(request).state == "fulfilled")
    steps = company.steps(request)
    assert steps["warehouse"].effect_at < steps["support"].effect_at < steps["identity-graph"].effect_at

    # Patience is over: a later system goes, but its end waits for the earlier one.
    other = person_in(company, "support", skip=1)
    impatient = company.submit(other)
    stop_before_erasing(company, impatient, "warehouse")
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state = 'due' AND system <> 'warehouse'")
    turn_until(
        company,
        lambda: company.steps(impatient)["support"].reason == "earlier_system_first",
        only=lambda name: name != "warehouse",
    )
    assert company.steps(impatient)["support"].effect_at is not None
    assert not is_due_in(company, impatient, "support", "confirm")
    company.drive()
    assert set(endings(company, impatient).values()) <= DONE
    # Not sealed before the key's retention is over; afterwards nothing but keyed hashes is left.
    assert company.request(request).sealed_at is None
    write(company, "UPDATE requests SET due_at = clock_timestamp() WHERE next_action = 'seal'")
    company.drive()
    assert company.request(request).sealed_at is not None
    assert company.stores.keys.get([request_owner(request)]) == {}
    rows = company.rows("SELECT sealed, keyed_hash FROM identifiers WHERE request_id = :id", id=request)
    assert {row.sealed for row in rows} == {None}
    assert {s.records for s in company.steps(request).values()} == {None}
    hashes = {bytes(row.keyed_hash) for row in rows}
    assert {company.stores.pepper.of_identifier(i) for i in person.identifiers} <= hashes
    assert company.steps(request)["support"].record_hashes


def test_with_no_system_connected_nothing_is_called_fulfilled(company: Company) -> None:
    request = company.submit(company.world.ordinary[0])
    sync_systems(company.stores, replace(company.settings, systems=()))

    company.drive()

    row = company.request(request)
    assert (row.state, row.reason) == ("in_progress", "needs_review")
    assert [doubt["reason"] for doubt in row.doubts] == ["no_system_connected"]
