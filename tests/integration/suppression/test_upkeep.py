"""Which systems are read and from where on, what a nudge names, and what operators are shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base.errors import CredentialsRefused
from service.execution.systems.list import list_systems
from service.execution.systems.sync_config import sync_systems
from service.monitoring.work_counts import count_work
from service.settings import parse_settings
from service.suppression.scan_schedule import lease_sync
from tests.integration.suppression.changing_system import SYSTEM, ChangingSystem, email
from workers import dispatch

ORG = "crm"


def with_org(sync_interval_seconds: float = 900.0, **policy: Any) -> Any:
    credentials = {"consumer_key": "key-0123456789", "consumer_secret": "secret-0123456789"}
    entry = {"name": ORG, "connector": "salesforce", "base_url": "https://x.example", "credentials": credentials}
    suppression = {"sync_interval_seconds": sync_interval_seconds}
    return parse_settings({"systems": [entry | {"policy": policy}], "suppression": suppression})


def cursors(changing: ChangingSystem) -> dict[str, str | None]:
    return {row.system: row.cursor for row in changing.read("SELECT system, cursor FROM suppression_syncs")}


def test_systems_that_tell_their_changes_are_read_and_anew_under_another_configuration(
    changing: ChangingSystem,
) -> None:
    changing.write("DELETE FROM suppression_syncs")
    sync_systems(changing.stores, with_org())
    assert cursors(changing) == {ORG: None}
    changing.write("UPDATE suppression_syncs SET cursor = 'x'")
    sync_systems(changing.stores, with_org())
    assert cursors(changing) == {ORG: "x"}
    # A further field that holds an identifier may show who was there all the time.
    sync_systems(changing.stores, with_org(fields={"Contact.Second__c": "email"}))
    assert cursors(changing) == {ORG: None}
    sync_systems(changing.stores, with_org(sync_interval_seconds=0.0))
    assert cursors(changing) == {}


def test_a_shorter_interval_counts_from_the_restart_on(changing: ChangingSystem) -> None:
    changing.write("DELETE FROM suppression_syncs")
    sync_systems(changing.stores, with_org(sync_interval_seconds=86400.0))

    def seconds_until_due(every: float, **columns: Any) -> float:
        known = {"last_success_at": "clock_timestamp() - interval '1 hour'", "consecutive_errors": "0"} | columns
        assignments = ", ".join(f"{name} = {value}" for name, value in known.items())
        changing.write(f"UPDATE suppression_syncs SET due_at = clock_timestamp() + interval '23 hours', {assignments}")
        sync_systems(changing.stores, with_org(sync_interval_seconds=every))
        asked = "SELECT extract(epoch FROM due_at - clock_timestamp()) AS seconds FROM suppression_syncs"
        return float(changing.read(asked)[0].seconds)

    hour = 3600
    assert seconds_until_due(900.0) < 0
    assert seconds_until_due(2.0 * hour) == pytest.approx(hour, abs=120)
    assert seconds_until_due(900.0, last_success_at="NULL") == pytest.approx(900, abs=120)
    # A longer one counts after the next look, and what failed waits as it was told to.
    assert seconds_until_due(48.0 * hour) == pytest.approx(23 * hour, abs=120)
    assert seconds_until_due(900.0, consecutive_errors="3") == pytest.approx(23 * hour, abs=120)


def test_the_first_page_begins_where_the_list_does(changing: ChangingSystem) -> None:
    leased = changing.leased()
    assert abs(leased.begin_at - datetime.now(UTC)) < timedelta(minutes=1)
    changing.erased(email("ada"))
    changing.erased(email("eve"))
    changing.write("UPDATE suppression_entries SET added_at = '2026-01-01Z', removed_at = now() WHERE kind = 'none'")
    first = changing.read("SELECT id FROM requests ORDER BY created_at LIMIT 1")[0].id
    changing.write("UPDATE suppression_entries SET added_at = '2026-02-01Z' WHERE request_id = :r", r=first)
    assert changing.leased().begin_at == datetime(2026, 2, 1, tzinfo=UTC)


def test_nobody_reads_while_the_gate_to_vendors_is_shut(changing: ChangingSystem) -> None:
    changing.write("INSERT INTO anchor_conflicts (anchor, code, detail) VALUES ('file', 'behind', '')")
    assert lease_sync(changing.stores, SYSTEM) is None


def test_a_nudge_names_the_system_and_goes_to_its_kinds_queue(
    changing: ChangingSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(dispatch, "_send", lambda task, *args, queue: sent.append((task, *args, queue)))
    own = changing.settings.service.model_copy(update={"dedicated_workers": {"zendesk": 1}})
    changing.runtime.settings = replace(changing.settings, service=own)
    assert dispatch.dispatch_syncs(changing.runtime) == 1
    assert sent == [("expunge.sync_suppression", SYSTEM, "expunge.systems.zendesk")]
    # Not again while it lies there, and at once when it was done and is due again.
    assert dispatch.dispatch_syncs(changing.runtime) == 0
    changing.sync()
    changing.write("UPDATE suppression_syncs SET due_at = clock_timestamp()")
    assert dispatch.dispatch_syncs(changing.runtime) == 1


def test_operators_see_what_was_found_and_what_fails(changing: ChangingSystem) -> None:
    changing.erased(email("ada"))
    changing.shows(email("ada"))
    changing.sync()
    changing.refuses = CredentialsRefused("no_visibility")
    changing.sync()
    changing.sync()
    changing.write("UPDATE suppression_syncs SET last_success_at = clock_timestamp() - interval '2 hours'")
    counts = count_work(changing.stores)
    assert counts.reappearances == {SYSTEM: 1}
    assert counts.sync_failures == {(SYSTEM, "no_visibility"): 2}
    assert 7200 <= counts.sync_age_seconds[SYSTEM] < 7300
    (view,) = list_systems(changing.stores, changing.settings)
    assert view.changes_error == "no_visibility"
    assert view.changes_read_at is not None
    # A system that is gone is nobody's worry.
    changing.write("UPDATE systems SET state = 'removed'")
    assert count_work(changing.stores).sync_age_seconds == {}


def test_many_pages_that_wait_are_all_read_again_without_a_rest(changing: ChangingSystem) -> None:
    """Seven people are asked about while their requests are open, and come back when those have ended."""
    changing.rows = 1
    people = [email(f"ada-{n}") for n in range(7)]
    for person in people:
        changing.erased(person)
    open_requests = [changing.submit(person) for person in people]
    for person in people:
        changing.shows(person)
    assert changing.sync() == 0
    assert len(changing.waits()) == 7
    for request in open_requests:
        changing.end(request)
    assert changing.sync() == 5
    assert changing.read("SELECT due_at <= clock_timestamp() AS due FROM suppression_syncs")[0].due
    assert changing.sync() == 2
    assert changing.waits() == []
