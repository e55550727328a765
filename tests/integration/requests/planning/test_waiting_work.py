"""What a tick looks for: it waits for nobody, and nobody does what another is doing."""

from __future__ import annotations

from sqlalchemy import text

from service.execution.due import due_systems, requests_wait
from service.store import locking as rows
from tests.company import Company
from tests.drive import turn
from tests.scenes import person_in, quicken, write


def test_a_tick_sees_what_waits_and_waits_for_nobody(company: Company) -> None:
    quicken(company)
    request = company.submit(person_in(company, "support"))
    assert not requests_wait(company.stores)
    turn(company.runtime, only=lambda name: False)
    assert not requests_wait(company.stores)
    with company.stores.engine.begin() as connection:
        rows.request_check(connection, [request])
    assert requests_wait(company.stores)
    write(company, "DELETE FROM request_checks")
    write(company, "UPDATE requests SET due_at = clock_timestamp() WHERE next_action = 'freeze'")
    assert requests_wait(company.stores)

    # A system that somebody is leasing right now is nudged with a later tick.
    names = [system.config.name for system in company.settings.systems]
    with company.stores.engine.begin() as leasing:
        leasing.execute(text("UPDATE systems SET nudged_at = NULL WHERE name = :n"), {"n": names[0]})
        nudged = due_systems(company.stores, company.settings, nudge_again_seconds=5.0)
    assert {system.name for system in nudged} == set(names[1:])
    nudged = due_systems(company.stores, company.settings, nudge_again_seconds=5.0)
    assert [system.name for system in nudged] == [names[0]]
