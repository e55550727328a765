"""What a tick looks for: it waits for nobody, and nobody does what another is doing."""

from __future__ import annotations

from sqlalchemy import text

from service.storage import rows
from service.use_cases.due_work import due_systems
from service.use_cases.sequence_audit import lock_sequencer
from service.use_cases.waiting_work import WaitingWork, waiting_work
from tests.company import Company
from tests.drive import turn
from tests.scenes import person_in, quicken, write


def test_a_tick_sees_what_waits_and_waits_for_nobody(company: Company) -> None:
    quicken(company)
    request = company.submit(person_in(company, "support"))
    assert waiting_work(company.stores) == WaitingWork(requests=False, entries=True)
    with company.stores.engine.begin() as sequencing:
        lock_sequencer(sequencing)
        assert not waiting_work(company.stores).entries
    write(company, "UPDATE audit_pending SET refused = 'previous_differs'")
    assert not waiting_work(company.stores).entries

    turn(company.runtime, only=lambda name: False)
    assert not waiting_work(company.stores).requests
    with company.stores.engine.begin() as connection:
        rows.check_again(connection, [request])
    assert waiting_work(company.stores).requests
    write(company, "DELETE FROM request_checks")
    write(company, "UPDATE requests SET due_at = clock_timestamp() WHERE duty = 'freeze'")
    assert waiting_work(company.stores).requests

    # A system that somebody is leasing right now is nudged with a later tick.
    names = [system.config.name for system in company.settings.systems]
    with company.stores.engine.begin() as leasing:
        leasing.execute(text("UPDATE systems SET nudged_at = NULL WHERE name = :n"), {"n": names[0]})
        nudged = due_systems(company.stores, company.settings, nudge_again_seconds=5.0)
    assert {system.name for system in nudged} == set(names[1:])
    nudged = due_systems(company.stores, company.settings, nudge_again_seconds=5.0)
    assert [system.name for system in nudged] == [names[0]]
