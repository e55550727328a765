"""Where the vendor needs no time, the look follows the erasing call in the same pass, and proves no less."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.interface import Answers, Delays, Lease, Operation
from connectors.base.values import Answer, Batch, Left, Visibility
from service import system_rules
from service.domain.audit.entry import decode_entry
from service.execution import run_batch
from service.execution.systems.sync_config import sync_systems
from service.system_rules import batch_limit
from tests.audit_replay import differences
from tests.company import Company
from tests.drive import turn
from tests.integration.execution.run_batch.test_bisecting import Stub, work
from tests.scenes import use


class Vendor(Stub):
    """Holds one record of everybody. `keeps`: who is still there after being called gone; `failing`: looks to fail."""

    def __init__(self, company: Company) -> None:
        super().__init__(company, lambda what, batch, lease: None)
        self.keeps: set[str] = set()
        self.failing = 0
        self.batch_keys: list[str] = []

    def check_credentials(self) -> Visibility:
        self.asked.append(("credentials", []))
        return super().check_credentials()

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        self.batch_keys.append(batch.key)
        return super().erase(batch, lease)

    def confirm_absence(self, batch: Batch) -> Answers:
        self._ask("confirm", batch)
        if self.failing:
            self.failing -= 1
            raise TemporarilyUnavailable("server_error", status=503)
        return {
            s.ref: Answer.partial((Left("users", s.ref, "still_there"),))
            if s.ref in self.keeps or s.ref not in self.gone
            else Answer.already_absent()
            for s in batch.subjects
        }


def begin(company: Company, people: int, *, confirm_after: float = 0.0) -> tuple[Vendor, dict[str, UUID]]:
    """People whose search is due in one system whose vendor takes so many seconds until a look may count."""
    system = company.settings.system("support")
    delays = {"confirm_after": timedelta(seconds=confirm_after), "poll_every": timedelta(seconds=0.05)}
    system = replace(system, config=replace(system.config, delays=delays))
    use(company, replace(company.settings, systems=(system,)))
    sync_systems(company.stores, company.settings)
    vendor = Vendor(company)
    company.runtime._connectors["support"] = vendor
    for person in company.world.ordinary[:people]:
        company.submit(person)
    turn(company.runtime, only=lambda name: False)
    return vendor, {row.id.hex: row.request_id for row in company.rows("SELECT id, request_id FROM steps")}


def endings(company: Company) -> set[tuple[str, str | None]]:
    return {(row.state, row.reason) for row in company.rows("SELECT state, reason FROM steps")}


def phases(company: Company) -> list[tuple[str, str, str | None]]:
    rows = company.rows("SELECT DISTINCT number, phase, answer, look FROM attempts ORDER BY number")
    return [(row.phase, row.answer, row.look) for row in rows]


def test_one_pass_erases_and_looks(company: Company) -> None:
    vendor, people = begin(company, 6)
    work(company)
    assert endings(company) == {("erased_verified", None)}
    assert [what for what, _ in vendor.asked if what != "credentials"] == ["locate", "erase", "confirm"]
    assert phases(company) == [("locate", "located", None), ("erase", "erased", "already_absent")]
    # Sight is proven before and after the look, as in a pass of its own.
    order = [what for what, _ in vendor.asked]
    assert order[order.index("erase") :] == ["erase", "credentials", "confirm", "credentials"]
    assert [dict(row.erased) for row in company.rows("SELECT erased FROM steps")] == [{"users": 1}] * len(people)
    entries = [decode_entry(bytes(row.entry)) for row in company.rows("SELECT entry FROM audit_pending")]
    ended = [entry["data"] for entry in entries if entry["event"] == "step_ended"]
    assert {(d["answer"], d["look"], d["records"]) for d in ended} == {("erased", "already_absent", 1)}
    assert len(ended) == len(people)
    assert differences(company.stores.engine) == []


def test_where_the_vendor_takes_its_time_the_look_is_a_pass_of_its_own(company: Company) -> None:
    begin(company, 2, confirm_after=0.1)
    company.drive()
    assert endings(company) == {("erased_verified", None)}
    assert phases(company)[1:] == [("erase", "erased", None), ("confirm", "already_absent", None)]


def test_who_is_still_there_is_erased_again_under_a_new_key(company: Company) -> None:
    vendor, people = begin(company, 3)
    liar = sorted(people)[1]
    vendor.keeps.add(liar)
    company.drive()
    rows = {row.id.hex: row for row in company.rows("SELECT * FROM steps")}
    assert {row.state for ref, row in rows.items() if ref != liar} == {"erased_verified"}
    assert rows[liar].state == "parked", "a vendor that says it is gone, again and again, is not believed"
    assert rows[liar].reason == "still_there"
    assert len(set(vendor.batch_keys)) == len(vendor.batch_keys) > 1
    assert rows[liar].remaining == {"users:still_there": 1}
    assert differences(company.stores.engine) == []


def test_a_look_that_fails_is_made_again_and_nothing_is_erased_twice(company: Company) -> None:
    vendor, _ = begin(company, 4)
    vendor.failing = 2
    work(company)
    rows = company.rows("SELECT DISTINCT phase, state, effect_possible FROM steps")
    assert [tuple(row) for row in rows] == [("confirm", "due", True)]
    assert phases(company)[1] == ("erase", "erased", None)
    company.drive(patience_seconds=30)
    assert endings(company) == {("erased_verified", None)}
    assert vendor.calls("erase") == 1


def test_a_batch_is_as_large_as_the_look_takes_where_that_is_nearly_as_many(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(company, 1)
    declared = Vendor.declaration

    def limits(erase: int, confirm: int, delay: timedelta) -> int:
        most = {Operation.ERASE: erase, Operation.CONFIRM: confirm}
        changed = replace(declared, max_subjects_per_call=most, delays=Delays(confirm_after=delay))
        monkeypatch.setattr(system_rules, "connector_class", lambda name: type("Of", (), {"declaration": changed}))
        configured = company.settings.system("support")
        settings = replace(
            company.settings, systems=(replace(configured, config=replace(configured.config, delays={})),)
        )
        return batch_limit(settings, "support", Operation.ERASE)

    at_once, later = timedelta(0), timedelta(seconds=1)
    assert limits(100, 99, at_once) == 99
    assert limits(100, 99, later) == 100
    assert limits(100, 10, at_once) == 100, "ten calls to erase instead of one would cost more than they save"


def test_more_people_than_a_look_takes_are_looked_at_later(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(company, 4)
    monkeypatch.setattr(run_batch, "batch_limit", lambda *given: 3)
    work(company)
    assert endings(company) == {("erased_verified", None)}
    assert phases(company)[1:] == [("erase", "erased", None), ("confirm", "already_absent", None)]
