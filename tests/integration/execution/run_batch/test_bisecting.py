"""One person for whom the vendor fails doesn't stop the people who travel with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.interface import Answers, Connector, Findings, Lease, Operation
from connectors.base.transitions.states import PROCESS_DIED, Phase
from connectors.base.values import Answer, Batch, Located, Record, Visibility
from connectors.zendesk.connector import ZendeskConnector
from service.domain.execution.bisect import MOST_DEATHS
from service.domain.execution.events import ResolutionReason
from service.execution import expire_leases as sweep_leases
from service.execution import lease as lease_module
from service.execution import quarantine as split_batch
from service.execution.heartbeat import save_resume_token
from service.execution.lease import lease_steps
from service.execution.run_batch import execute_batch
from service.execution.steps.retry import retry_steps
from service.execution.systems.sync_config import sync_systems
from tests.company import Company
from tests.drive import turn
from tests.scenes import quicken, use, write

Fails = Callable[[str, Batch, Lease | None], None]


class Stub(Connector):
    """A vendor that holds one record of everybody, and fails a whole call as it is told."""

    declaration = ZendeskConnector.declaration
    Credentials = ZendeskConnector.Credentials

    def __init__(self, company: Company, fails: Fails) -> None:
        super().__init__(company.settings.system("support").config)
        self.fails = fails
        self.asked: list[tuple[str, list[str]]] = []
        self.gone: set[str] = set()
        self.healthy = 0

    def check_credentials(self) -> Visibility:
        return Visibility("control_record")

    def _ask(self, what: str, batch: Batch, lease: Lease | None = None) -> None:
        self.asked.append((what, [s.ref for s in batch.subjects]))
        self.fails(what, batch, lease)

    def locate(self, batch: Batch) -> Findings:
        self._ask("locate", batch)
        return {s.ref: Located((Record("users", s.ref),), {"users": 1}) for s in batch.subjects}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        self._ask("erase", batch, lease)
        self.gone |= {s.ref for s in batch.subjects}
        return {s.ref: Answer.erased({"users": 1}) for s in batch.subjects}

    def confirm_absence(self, batch: Batch) -> Answers:
        self._ask("confirm", batch)
        assert {s.ref for s in batch.subjects} <= self.gone
        return {s.ref: Answer.already_absent() for s in batch.subjects}

    def calls(self, what: str) -> int:  # type: ignore[override]
        """How often a whole batch was asked for."""
        return sum(asked == what for asked, _ in self.asked)


def begin(company: Company, people: int, fails: Fails) -> tuple[Stub, dict[str, UUID]]:
    """People whose search is due in one system, under the names by which the connector knows them."""
    quicken(company)
    use(company, replace(company.settings, systems=(company.settings.system("support"),)))
    sync_systems(company.stores, company.settings)
    stub = Stub(company, fails)
    company.runtime._connectors["support"] = stub
    for person in company.world.ordinary[:people]:
        company.submit(person)
    turn(company.runtime, only=lambda name: False)
    steps = {row.id.hex: row.request_id for row in company.rows("SELECT id, request_id FROM steps")}
    assert len(steps) == people
    return stub, steps


def work(company: Company) -> None:
    """Until nothing is due now; waiting is for those whose turn comes later."""
    while turn(company.runtime):
        pass


def fail_with(error: Callable[[], ConnectorError], bad: list[str], *phases: str) -> Fails:
    def fails(what: str, batch: Batch, lease: Lease | None) -> None:
        if what in phases and any(s.ref in bad for s in batch.subjects):
            raise error()

    return fails


def state(company: Company, ref: str) -> Any:
    return company.rows("SELECT * FROM steps WHERE id = :id", id=UUID(ref))[0]


@pytest.mark.parametrize("company", [{"people": 90, "accounts": ["support"]}], indirect=True)
def test_one_bad_apple_of_sixty_four_is_found_and_only_that_one_parks(company: Company) -> None:
    bad: list[str] = []
    stub, steps = begin(company, 64, fail_with(lambda: RequestRefused("refused", status=400), bad, "locate", "erase"))
    bad.append(sorted(steps)[37])
    work(company)

    limit = stub.declaration.batch_limit(Operation.LOCATE)
    assert 64 / limit < stub.calls("locate") <= math.ceil(64 / limit) + 2 * math.ceil(math.log2(limit))
    parked = company.rows("SELECT id, reason FROM steps WHERE state = 'parked'")
    assert [(row.id.hex, row.reason) for row in parked] == [(bad[0], "request_refused:refused")]
    # The healthy went on at once; nothing is left of the parts.
    assert stub.gone == set(steps) - set(bad)
    assert company.rows("SELECT 1 FROM batches WHERE ended_at IS NULL AND phase = 'locate'") == []


def test_a_refused_erasure_is_split_but_never_away_from_its_token(company: Company) -> None:
    bad: list[str] = []
    stub, steps = begin(company, 8, fail_with(lambda: RequestRefused("refused"), bad, "erase"))
    bad.append(sorted(steps)[2])
    work(company)
    assert stub.calls("erase") == 1 + 2 * 3
    assert stub.gone == set(steps) - set(bad)
    assert [row.id.hex for row in company.rows("SELECT id FROM steps WHERE state = 'parked'")] == bad


@pytest.mark.parametrize("kind", ["token", "unknown"])
def test_an_erasure_that_may_have_happened_stays_whole(company: Company, kind: str) -> None:
    def fails(what: str, batch: Batch, lease: Lease | None) -> None:
        if what == "erase" and lease is not None:
            if kind == "token":
                lease.save(b"job 1")
                raise RequestRefused("refused")
            raise AnswerNotUnderstood("bad_json", effect_unknown=True)

    stub, _ = begin(company, 4, fails)
    work(company)
    assert stub.calls("erase") == 1
    rows = company.rows("SELECT state, effect_possible, batch_id FROM steps")
    assert {(row.state, row.effect_possible) for row in rows} == {("parked", True)}
    assert len({row.batch_id for row in rows}) == 1


def test_where_everybody_fails_it_is_not_a_person(company: Company) -> None:
    def fails(what: str, batch: Batch, lease: Lease | None) -> None:
        raise AnswerNotUnderstood("not_json")

    stub, steps = begin(company, 16, fails)
    work(company)
    assert stub.calls("locate") <= 1 + 2 * 6 < 2 * len(steps) - 1
    assert len(company.rows("SELECT 1 FROM steps WHERE state = 'parked'")) == len(steps)


def test_without_splitting_one_bad_apple_parks_everybody(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_batch, "may_split", lambda failure: False)
    bad: list[str] = []
    stub, steps = begin(company, 4, fail_with(lambda: RequestRefused("refused"), bad, "locate"))
    bad += steps
    work(company)
    assert stub.calls("locate") == 1
    assert len(company.rows("SELECT 1 FROM steps WHERE state = 'parked'")) == len(steps)


def test_a_slow_person_ends_up_alone_and_stays_alone(company: Company) -> None:
    bad: list[str] = []
    stub, steps = begin(company, 8, fail_with(lambda: TemporarilyUnavailable("timeout"), bad, "locate"))
    bad.append(sorted(steps)[0])
    for consecutive_attempts in (1, 2):
        work(company)
        rows = company.rows("SELECT consecutive_attempts, due_at > clock_timestamp() AS later FROM steps")
        assert {(row.consecutive_attempts, row.later) for row in rows} == {(consecutive_attempts, True)}
        write(company, "UPDATE steps SET due_at = clock_timestamp()")
    work(company)
    # The third time in halves, down to the one, who waits for the next turn alone.
    assert stub.gone == set(steps) - set(bad)
    slow = state(company, bad[0])
    assert (slow.state, slow.phase) == ("due", "locate")
    assert slow.batch_id is not None
    company.submit(company.world.ordinary[20])
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE id = :id", id=UUID(bad[0]))
    before = len(stub.asked)
    work(company)
    assert bad in [refs for _, refs in stub.asked[before:]]
    assert all(refs == bad or bad[0] not in refs for _, refs in stub.asked[before:])


def test_whoever_kills_every_worker_is_parted_from_the_others_and_comes_later(company: Company) -> None:
    _, steps = begin(company, 4, lambda what, batch, lease: None)
    for _ in range(3):
        leased = lease_steps(company.stores, company.settings, "support")
        assert leased is not None
        assert len(leased.steps) == 4
        write(company, "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second'")
        sweep_leases.sweep_leases(company.stores)
    parts = company.rows("SELECT batch_id, count(*) AS n FROM steps WHERE state = 'due' GROUP BY batch_id")
    assert [row.n for row in parts] == [2, 2]
    leased = lease_steps(company.stores, company.settings, "support")
    assert leased is not None
    write(company, "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second' WHERE lease_until > now()")
    sweep_leases.sweep_leases(company.stores)
    late = company.rows("SELECT id FROM steps WHERE due_at > clock_timestamp()")
    assert {row.id for row in late} == {step.step_id for step in leased.steps}
    company.drive(patience_seconds=5)
    assert {row.state for row in company.rows("SELECT state FROM steps")} == {"erased_verified"}
    assert len(steps) == 4


def kill(company: Company, stub: Stub, deadly: str, *, lives: int = 40) -> int:
    """Whoever is with this one in an erasing call dies, and everybody's time passes. Returns how often that was."""
    killed = 0
    for _ in range(lives):
        leased = lease_steps(company.stores, company.settings, "support")
        if leased is None:
            break
        assert leased.resume_token in (None, b"job 1")
        if deadly in [s.ref for s in leased.batch.subjects] and leased.phase is Phase.ERASE:
            killed += 1
            save_resume_token(company.stores, leased, b"job 1")
            write(
                company,
                "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second' WHERE lease_until > now()",
            )
            sweep_leases.sweep_leases(company.stores)
            write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE phase = 'erase'")
        else:
            execute_batch(company.runtime, leased)
        if len(stub.gone) == stub.healthy:
            break
    return killed


def until_erasing(company: Company, people: int) -> tuple[Stub, str]:
    """People whose erasure is due, and one of them."""
    stub, steps = begin(company, people, lambda what, batch, lease: None)
    while not company.rows("SELECT 1 FROM steps WHERE phase = 'erase'"):
        assert turn(company.runtime)
    write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state = 'due'")
    stub.healthy = people - 1
    return stub, sorted(steps)[5]


def test_whoever_kills_every_process_that_erases_them_doesnt_hold_the_others(company: Company) -> None:
    stub, deadly = until_erasing(company, 8)
    assert kill(company, stub, deadly) <= 3 + 3
    assert deadly not in stub.gone
    assert len(stub.gone) == 7
    # All in one batch, under its key and token: jobs that were opened are nobody else's.
    batches = company.rows("SELECT id, root_id FROM batches WHERE phase = 'erase'")
    assert len(batches) == 1
    assert state(company, deadly).batch_id == batches[0].id


def test_without_parting_one_person_holds_everybody(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "isolate_suspects", lambda *given: list(given[-1]))
    stub, deadly = until_erasing(company, 8)
    assert kill(company, stub, deadly, lives=12) == 12
    assert stub.gone == set()


def die_with(company: Company, deaths: int) -> None:
    """So many processes die in their pass over whoever is due, and everybody's time passes."""
    for _ in range(deaths):
        assert lease_steps(company.stores, company.settings, "support") is not None
        write(company, "UPDATE batches SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")
        sweep_leases.sweep_leases(company.stores)
        write(company, "UPDATE steps SET due_at = clock_timestamp() WHERE state = 'due'")


def test_whoever_kills_process_after_process_alone_parks_and_can_go_on(company: Company) -> None:
    _, steps = begin(company, 1, lambda what, batch, lease: None)
    (ref,) = steps
    die_with(company, MOST_DEATHS - 1)
    assert state(company, ref).state == "due"
    die_with(company, 1)
    assert (state(company, ref).state, state(company, ref).reason) == ("parked", PROCESS_DIED)
    assert lease_steps(company.stores, company.settings, "support") is None

    freed = retry_steps(
        company.stores, system="support", parked_as=PROCESS_DIED, reason=ResolutionReason.CAUSE_FIXED, actor="cli"
    )
    assert freed.retried == 1
    die_with(company, 1)
    assert state(company, ref).state == "due", "one more death isn't sixteen"
    company.drive(patience_seconds=5)
    assert state(company, ref).state == "erased_verified"


def test_errors_in_a_row_are_no_deaths(company: Company) -> None:
    """A vendor that is down for a day, and then one process that dies."""
    _, steps = begin(company, 1, lambda what, batch, lease: None)
    (ref,) = steps
    die_with(company, MOST_DEATHS - 1)
    write(company, "UPDATE attempts SET ended_at = clock_timestamp() WHERE number = 7")
    die_with(company, 1)
    assert state(company, ref).state == "due"


def test_nobody_parks_for_the_deaths_of_a_whole_batch(company: Company) -> None:
    """A machine that kills whatever runs on it is nobody's fault who was in a batch just then."""
    _, steps = begin(company, 4, lambda what, batch, lease: None)
    write(company, "UPDATE steps SET consecutive_attempts = :n WHERE system = 'support'", n=MOST_DEATHS)
    leased = lease_steps(company.stores, company.settings, "support")
    assert leased is not None
    assert len(leased.steps) > 1
    write(company, "UPDATE batches SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")
    sweep_leases.sweep_leases(company.stores)
    assert {state(company, ref).state for ref in steps} == {"due"}


def test_without_parking_one_person_kills_for_ever(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_leases, "_park_killers", lambda *given: None)
    _, steps = begin(company, 1, lambda what, batch, lease: None)
    (ref,) = steps
    die_with(company, MOST_DEATHS + 2)
    assert state(company, ref).state == "due"
