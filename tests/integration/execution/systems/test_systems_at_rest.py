"""A system that is down, throttled, slow or out of its budget: left alone, probed, come back to; the others go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from connectors.base.pacing import RateLimit
from connectors.testing.sandbox.faults import Fault, FaultKind
from service.domain.execution.health import CooldownReason
from service.execution.due import due_systems
from service.execution.lease import LeasedBatch, lease_steps
from service.execution.run_batch import run_batch
from service.execution.systems import quotas as count_calls
from service.execution.systems.admit import admit
from service.execution.systems.availability import probe_at_once, read_availability, start_cooldown
from tests.audit_replay import differences
from tests.company import Company
from tests.scenes import changed, endings, person_in, quicken, stop_before_erasing, turn_until, use, write

DONE = {("erased_verified", None), ("absent", None)}
SMALL = pytest.mark.parametrize("company", [{"people": 30, "accounts": ["support"]}], indirect=True)


def system(company: Company, name: str) -> object:
    return company.rows("SELECT * FROM systems WHERE name = :n", n=name)[0]


def events(company: Company, name: str) -> list[str]:
    logged = company.rows("SELECT convert_from(entry, 'UTF8')::jsonb AS e FROM audit_pending ORDER BY id")
    return [row.e["event"] for row in logged if row.e["object_id"] == name]


def due_again(company: Company, name: str) -> None:
    """Time passes: what was postponed is due, and a rest is over."""
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE system = :s AND state = 'due'", s=name)
    write(company, "UPDATE systems SET cooldown_until = NULL, nudged_at = NULL WHERE name = :s", s=name)


@SMALL
def test_the_breaker_opens_probes_with_one_person_and_closes(company: Company) -> None:
    quicken(company, circuit_breaker_threshold=3, circuit_breaker_pause_seconds=60.0)
    requests = [company.submit(person_in(company, "mailing", skip=n)) for n in range(3)]
    turn_until(company, lambda: company.rows("SELECT 1 FROM steps WHERE system = 'mailing'"), only=lambda _: False)
    mailing = company.sandboxes["mailing"]
    mailing.faults = [Fault(FaultKind.STATUS, status=503, times=None)]
    for passes in range(3):
        assert system(company, "mailing").failed_passes == passes
        due_again(company, "mailing")
        assert run_batch(company.runtime, "mailing", None)
    assert system(company, "mailing").down_since is not None
    assert events(company, "mailing") == ["system_added", "system_paused"]

    # At rest: nobody is nudged and nobody goes in, whatever is due.
    due = "UPDATE steps SET due_at = clock_timestamp() WHERE system = 'mailing' AND state = 'due'"
    write(company, due)
    assert "mailing" not in {s.name for s in due_systems(company.stores, company.settings, nudge_again_seconds=0)}
    assert not run_batch(company.runtime, "mailing", None)

    # The rest is over: one person, one worker.
    due_again(company, "mailing")
    assert "mailing" in {s.name for s in due_systems(company.stores, company.settings, nudge_again_seconds=0)}
    slot = admit(company.runtime, "mailing")
    assert slot is not None
    assert slot.max_subjects == 1
    probe = lease_steps(company.stores, company.settings, "mailing", at_most=slot.max_subjects)
    assert isinstance(probe, LeasedBatch)
    assert len(probe.steps) == 1
    assert admit(company.runtime, "mailing") is None
    assert "mailing" not in {s.name for s in due_systems(company.stores, company.settings, nudge_again_seconds=0)}
    write(company, "UPDATE batches SET lease_until = clock_timestamp() WHERE id = :b", b=probe.id)
    turn_until(company, lambda: not company.rows("SELECT 1 FROM steps WHERE state = 'leased'"), only=lambda _: False)

    # A restart probes at once.
    write(company, "UPDATE systems SET cooldown_until = clock_timestamp() + interval '1 hour' WHERE name = 'mailing'")
    probe_at_once(company.stores)
    assert not system(company, "mailing").cooldown_until

    # Still silent: twice the pause. Then it answers, and what was postponed goes on at once.
    due_again(company, "mailing")
    assert run_batch(company.runtime, "mailing", None)
    longer = (
        "SELECT cooldown_until > clock_timestamp() + interval '100 seconds' AS longer"
        " FROM systems WHERE name = 'mailing'"
    )
    assert company.rows(longer)[0].longer
    mailing.faults = []
    write(company, "UPDATE systems SET cooldown_until = NULL WHERE name = 'mailing'")
    write(
        company,
        "UPDATE steps SET due_at = clock_timestamp() WHERE id = (SELECT min(id::text)::uuid FROM steps"
        " WHERE system = 'mailing' AND state = 'due')",
    )
    assert run_batch(company.runtime, "mailing", None)
    assert system(company, "mailing").down_since is None
    assert events(company, "mailing")[-1] == "system_resumed"
    waiting = "SELECT 1 FROM steps WHERE system = 'mailing' AND state = 'due' AND due_at > clock_timestamp()"
    assert not company.rows(waiting)
    company.drive()
    assert {end for request in requests for end in endings(company, request).values()} <= DONE
    assert differences(company.stores.engine) == []


@SMALL
def test_a_vendors_word_closes_the_whole_system_until_then(company: Company) -> None:
    quicken(company)
    first, second = (company.submit(person_in(company, "mailing", skip=n)) for n in range(2))
    stop_before_erasing(company, first, "mailing")
    company.sandboxes["mailing"].faults = [Fault(FaultKind.STATUS, status=429, retry_after="40", times=1)]
    assert run_batch(company.runtime, "mailing", None)
    row = system(company, "mailing")
    assert row.cooldown_reason == CooldownReason.RATE_LIMITED
    calls = len(company.sandboxes["mailing"].journal)
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE system = 'mailing' AND state = 'due'")
    assert not run_batch(company.runtime, "mailing", None)
    assert len(company.sandboxes["mailing"].journal) == calls
    # A shorter rest doesn't end the longer one, and nothing of it is a change of state.
    start_cooldown(company.stores, "mailing", 1.0, CooldownReason.RATE_WINDOW)
    assert system(company, "mailing").cooldown_until == row.cooldown_until
    assert events(company, "mailing") == ["system_added"]
    due_again(company, "mailing")
    company.runtime._throttles["mailing"]._gate._shut_until.clear()
    company.drive()
    assert {*endings(company, first).values(), *endings(company, second).values()} <= DONE


@SMALL
def test_what_the_gate_refuses_comes_back_and_counts_as_no_try(company: Company) -> None:
    quicken(company)
    limits = (RateLimit(3, timedelta(hours=1) - timedelta(seconds=1)),)
    use(company, replace(company.settings, systems=changed(company, "mailing", rate_limits=limits)))
    for n in range(2):
        company.submit(person_in(company, "mailing", skip=n))
    turn_until(company, lambda: company.rows("SELECT 1 FROM steps WHERE system = 'mailing'"), only=lambda _: False)
    company.runtime.throttle("mailing").calls_per_person = 1.0
    assert run_batch(company.runtime, "mailing", None)
    share = len(company.sandboxes["mailing"].journal)
    assert share <= 3, "without a broker this process takes no more than its share"
    steps = company.rows(
        "SELECT state, consecutive_attempts, due_at > clock_timestamp() + interval '5 minutes' AS later FROM steps"
        " WHERE system = 'mailing' AND attempts = 1"
    )
    assert steps
    assert {(s.state, s.consecutive_attempts, s.later) for s in steps} == {("due", 0, True)}
    answers = company.rows(
        "SELECT DISTINCT code FROM attempts a JOIN steps s ON s.id = a.step_id WHERE s.system = 'mailing'"
    )
    assert [a.code for a in answers] == ["rate_gate"]
    # And nobody is leased while there is no room: no attempt, no entry.
    before = company.rows("SELECT count(*) AS n FROM audit_pending")[0].n
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE system = 'mailing' AND state = 'due'")
    assert not run_batch(company.runtime, "mailing", None)
    assert company.rows("SELECT count(*) AS n FROM audit_pending")[0].n == before
    assert system(company, "mailing").cooldown_reason == CooldownReason.RATE_WINDOW
    assert "mailing" not in {s.name for s in due_systems(company.stores, company.settings, nudge_again_seconds=0)}


@SMALL
def test_long_limits_are_counted_in_sql_and_given_back(company: Company) -> None:
    hourly, daily = RateLimit(10, timedelta(hours=1)), RateLimit(15, timedelta(hours=24))
    stores = company.stores
    first = count_calls.reserve(stores, "mailing", [hourly, daily], 8)
    assert first.granted == 8
    assert count_calls.reserve(stores, "mailing", [hourly, daily], 8).granted == 2
    refused = count_calls.reserve(stores, "mailing", [hourly, daily], 8)
    assert refused.granted == 0
    assert 3500 < refused.wait_seconds <= 3700
    count_calls.release(stores, first, 5)
    assert count_calls.reserve(stores, "mailing", [hourly], 8).granted == 5
    assert count_calls.reserve(stores, "support", [hourly], 8).granted == 8
    # An hour later the hour is free and the day isn't.
    write(company, "UPDATE call_counts SET begins_at = begins_at - interval '61 minutes'")
    assert count_calls.reserve(stores, "mailing", [hourly, daily], 20).granted == 10
    assert count_calls.reserve(stores, "mailing", [daily], 20).granted == 0


@SMALL
def test_a_pass_takes_no_more_of_a_long_limit_than_there_is(company: Company) -> None:
    quicken(company)
    limits = (RateLimit(30, timedelta(hours=24)), RateLimit(2, timedelta(hours=24), per_subject=True))
    use(company, replace(company.settings, systems=changed(company, "mailing", rate_limits=limits)))
    for n in range(4):
        company.submit(person_in(company, "mailing", skip=n))
    turn_until(
        company,
        lambda: (
            run_batch(company.runtime, "mailing", None) is False
            and company.rows("SELECT 1 FROM systems WHERE name = 'mailing' AND cooldown_until > clock_timestamp()")
        ),
        only=lambda name: name != "mailing",
    )
    taken = {r.unit: r.n for r in company.rows("SELECT unit, sum(taken) AS n FROM call_counts GROUP BY unit")}
    assert taken["calls"] == len(company.sandboxes["mailing"].journal) <= 30
    # Looks count no people; what was suppressed or erased does.
    assert taken.get("people", 0) <= 2


@SMALL
def test_a_slow_system_leaves_slots_to_the_others(company: Company) -> None:
    stores, settings = company.stores, company.settings

    def standing(name: str) -> object:
        found = read_availability(stores, settings, name)
        assert found is not None
        return found

    def in_work(name: str, passes: int) -> None:
        for _ in range(passes):
            write(
                company,
                "INSERT INTO batches (id, system, phase, lease_until) VALUES (gen_random_uuid(), :s, 'locate',"
                " clock_timestamp() + interval '1 minute')",
                s=name,
            )

    assert settings.service.workers == 3
    write(company, "UPDATE systems SET max_concurrency = 9")
    in_work("support", 1)
    assert standing("support").has_slot
    write(company, "UPDATE systems SET is_slow = true WHERE name = 'support'")
    assert not standing("support").has_slot, "a slow one has at most half of the slots"
    assert standing("mailing").has_slot
    in_work("mailing", 1)
    assert standing("mailing").has_slot
    write(company, "UPDATE systems SET is_slow = true WHERE name IN ('mailing', 'warehouse')")
    assert not standing("warehouse").has_slot, "all slow ones together leave a slot as well"
    write(company, "UPDATE systems SET is_slow = true WHERE name = 'identity-graph'")
    assert standing("warehouse").has_slot, "but not where there is nobody to leave it to"
    write(company, "UPDATE systems SET is_slow = false WHERE name = 'identity-graph'")
    assert standing("identity-graph").has_slot
    in_work("identity-graph", 2)
    assert not standing("identity-graph").has_slot, "nobody takes the last slot"
    # Workers of a kind's own serve nobody else.
    alone = replace(settings, service=settings.service.model_copy(update={"dedicated_workers": {"zendesk": 1}}))
    found = read_availability(stores, alone, "support")
    assert found is not None
    assert found.has_slot


def test_a_removed_system_lets_nobody_in(company: Company) -> None:
    with company.stores.engine.begin() as connection:
        connection.execute(text("UPDATE systems SET state = 'removed' WHERE name = 'support'"))
    assert admit(company.runtime, "support") is None
