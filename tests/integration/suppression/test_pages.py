"""What becomes of a page of changes: who opens a request, who waits, who is nobody's; and each page counts once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connectors.base.errors import CredentialsRefused, LeaseLost, TemporarilyUnavailable
from connectors.base.sandbox.sample_world import SamplePerson
from connectors.base.values import Identifier, Seen
from service.domain.request import DenialReason
from service.use_cases import know_reappeared, record_changes
from service.use_cases.review_request import continue_request
from service.use_cases.withdraw_request import deny_request
from tests.integration.suppression.changing_system import SYSTEM, ChangingSystem
from tests.scenes import quicken, use, without

pytestmark = pytest.mark.parametrize("company", [{"accounts": ["support"], "people": 12}], indirect=True)
STRANGER = Identifier("email", "stranger@example.test")


def ordinary(changing: ChangingSystem) -> SamplePerson:
    return changing.company.world.ordinary[0]


def email_of(person: SamplePerson) -> Identifier:
    return Identifier("email", person.emails[0])


# --- who is found ------------------------------------------------------------------------------------------------------


def test_only_what_stands_on_the_list_is_taken_from_a_record(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    first = changing.erase(person)
    changing.shows(STRANGER)
    changing.shows(Identifier("email", f" {person.emails[0].upper()} "), STRANGER, Identifier("phone", "not a number"))

    assert changing.sync() == 1
    (again,) = changing.opened()
    assert (again.reappearance_of, again.regime, again.state) == (first, "gdpr", "open")
    assert changing.kinds_of(again.id) == ["email"]
    rows = changing.company.rows("SELECT * FROM identifiers WHERE request_id = :r", r=again.id)
    assert rows[0].verification_method == "suppression_list"
    assert changing.row.found == 1
    # The audit log says whose re-appearance it is, and where.
    entries = changing.company.rows("SELECT convert_from(entry, 'UTF8') AS entry FROM audit_pending")
    told = [row.entry for row in entries if '"person_reappeared"' in row.entry]
    assert len(told) == 1
    assert all(word in told[0] for word in (str(first), SYSTEM, '"records":1'))
    assert person.emails[0] not in "".join(row.entry for row in entries)


def test_records_of_one_person_on_a_page_make_one_request(changing: ChangingSystem) -> None:
    person = next(p for p in changing.company.world.ordinary if p.phones)
    changing.erase(person)
    changing.shows(email_of(person))
    changing.shows(Identifier("phone", person.phones[0]), STRANGER)
    changing.sync()
    (again,) = changing.opened()
    assert changing.kinds_of(again.id) == ["email", "phone"]
    assert len(changing.company.rows("SELECT 1 FROM reappearances")) == 2


def whoever_is_not_on_the_list_any_more_is_nobodys(changing: ChangingSystem) -> None:
    quicken(changing.company, approval={"always": True})
    person = ordinary(changing)
    request = changing.company.submit(person)
    changing.company.drive()
    deny_request(changing.company.stores, request, reason=DenialReason.NO_MATCH, actor="key:x")
    changing.shows(email_of(person))
    assert changing.sync() == 0
    assert changing.waits() == []


def test_whoever_is_not_on_the_list_any_more_is_nobodys(changing: ChangingSystem) -> None:
    whoever_is_not_on_the_list_any_more_is_nobodys(changing)


def test_what_was_left_on_purpose_does_not_reappear(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    request = changing.erase(person)
    pepper = changing.company.stores.pepper
    kept = changing.shows(email_of(person))
    # As a step that its policy ended as retained.
    mark = {"r": request, "s": SYSTEM, "h": [pepper.of_record(SYSTEM, kept.record)]}
    state = changing.company.steps(request)[SYSTEM].state
    changing.run("UPDATE steps SET state = 'retained', record_hashes = :h WHERE request_id = :r AND system = :s", **mark)
    assert changing.sync() == 0
    changing.run("UPDATE steps SET state = :t WHERE request_id = :r AND system = :s", t=state, **mark)
    assert changing.sync(anew=True) == 1


# --- each once ---------------------------------------------------------------------------------------------------------


def a_page_that_is_delivered_twice_opens_one_request(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    changing.erase(person)
    changing.shows(email_of(person))
    assert changing.sync() == 1
    changing.company.drive()
    assert changing.sync(anew=True) == 0
    # Also when its request has ended and the record is still there, in the same state.
    changing.approve(changing.opened()[0].id)
    changing.company.drive()
    assert changing.company.request(changing.opened()[0].id).state == "fulfilled"
    assert changing.sync(anew=True) == 0
    assert len(changing.opened()) == 1


def test_a_page_that_is_delivered_twice_opens_one_request(changing: ChangingSystem) -> None:
    a_page_that_is_delivered_twice_opens_one_request(changing)


def a_crash_before_the_commit_leaves_nothing_behind(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    changing.erase(person)
    changing.shows(email_of(person))
    keys = len(changing.company.stores.keys.owners_older_than(0, 1000))
    with pytest.MonkeyPatch.context() as patch:
        whole = record_changes.advance_sync

        def dies(*args: Any, **named: Any) -> None:
            whole(*args, **named)
            raise KeyboardInterrupt

        patch.setattr(record_changes, "advance_sync", dies)
        with pytest.raises(KeyboardInterrupt):
            changing.sync()
    assert changing.opened() == []
    assert changing.row.cursor is None
    # A key that nothing refers to is the sweeper's business, as after a submission that never committed.
    assert len(changing.company.stores.keys.owners_older_than(0, 1000)) == keys + 1
    assert changing.sync() == 1
    assert changing.row.cursor == "1"


def test_a_crash_before_the_commit_leaves_nothing_behind(changing: ChangingSystem) -> None:
    a_crash_before_the_commit_leaves_nothing_behind(changing)


def test_whoever_lost_the_lease_records_nothing(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    changing.erase(person)
    changing.shows(email_of(person))
    late, now = changing.leased(), changing.leased()
    page = changing.changed_since(None, None, late.begin_at)
    with pytest.raises(LeaseLost):
        record_changes.record_changes(changing.company.stores, changing.company.settings, late, page)
    assert (changing.opened(), changing.row.cursor) == ([], None)
    assert len(record_changes.record_changes(changing.company.stores, changing.company.settings, now, page)) == 1
    assert changing.row.cursor == "1"


def test_two_readers_do_not_read_at_once(changing: ChangingSystem) -> None:
    changing.leased()
    from service.use_cases.lease_sync import lease_sync

    assert lease_sync(changing.company.stores, SYSTEM) is None


# --- who waits ---------------------------------------------------------------------------------------------------------


def test_somebody_at_work_is_waited_for_and_then_looked_for_again(changing: ChangingSystem) -> None:
    """A second request of the person is open when the record is seen; it is denied, and the record is still there."""
    quicken(changing.company, approval={"always": True})
    person = ordinary(changing)
    first = changing.company.submit(person)
    changing.company.drive()
    changing.approve(first)
    changing.company.drive()
    second = changing.company.submit(person)
    changing.company.drive()
    assert changing.company.request(second).reason == "awaiting_approval"

    for _ in range(4):
        changing.shows(STRANGER)
    changing.shows(email_of(person))
    assert changing.sync() == 0
    assert [(w.request_id, w.cursor) for w in changing.waits()] == [(second, "3")]
    assert changing.sync() == 0

    deny_request(changing.company.stores, second, reason=DenialReason.NO_MATCH, actor="key:x")
    changing.asked.clear()
    assert changing.sync() == 1
    assert changing.asked == ["3", "5"]
    assert (changing.waits(), changing.row.cursor) == ([], "5")
    assert changing.opened()[0].reappearance_of == first


def test_whose_erasure_is_not_done_in_the_system_does_not_reappear_there(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    request = changing.erase(person)
    state = changing.company.steps(request)[SYSTEM].state
    # As a step whose vendor still purges.
    mark = {"r": request, "s": SYSTEM}
    changing.run("UPDATE steps SET state = 'accepted' WHERE request_id = :r AND system = :s", **mark)
    changing.shows(email_of(person))
    assert changing.sync() == 0
    assert [w.request_id for w in changing.waits()] == [request]
    assert changing.sync() == 0
    changing.run("UPDATE steps SET state = :t WHERE request_id = :r AND system = :s", t=state, **mark)
    assert changing.sync() == 1
    assert changing.waits() == []


def test_a_denied_reappearance_is_not_asked_about_again(changing: ChangingSystem) -> None:
    person = ordinary(changing)
    changing.erase(person)
    seen = changing.shows(email_of(person))
    changing.sync()
    deny_request(changing.company.stores, changing.opened()[0].id, reason=DenialReason.NO_MATCH, actor="key:x")
    changing.shows(email_of(person), record=seen.record.id)
    assert changing.sync() == 0
    # What the person asks for anew counts anew.
    changing.company.submit(person)
    changing.company.drive()
    changing.shows(email_of(person), record=seen.record.id)
    assert changing.sync() == 1


# --- what is done ------------------------------------------------------------------------------------------------------


def policy(changing: ChangingSystem, reappearance: str) -> None:
    settings = changing.company.settings
    use(
        changing.company,
        replace(settings, suppression=settings.suppression.model_copy(update={"reappearance": reappearance})),
    )


def test_the_policy_report_searches_for_nobody_before_a_review(changing: ChangingSystem) -> None:
    policy(changing, "report")
    person = ordinary(changing)
    changing.erase(person)
    changing.shows(email_of(person))
    assert changing.sync() == 1
    changing.company.drive()
    (again,) = changing.opened()
    assert (again.state, again.reason, again.doubts[0]["reason"]) == ("in_progress", "needs_review", "reappeared")
    assert changing.company.steps(again.id) == {}
    continue_request(changing.company.stores, again.id, drop=[], verify=[], actor="key:x")
    changing.company.drive()
    assert changing.company.request(again.id).reason == "awaiting_approval"


def test_the_policy_erase_asks_nobody_about_whom_the_list_knew(changing: ChangingSystem) -> None:
    policy(changing, "erase")
    person = ordinary(changing)
    changing.erase(person)
    changing.shows(email_of(person))
    changing.sync()
    changing.company.drive()
    (again,) = changing.opened()
    assert again.state == "fulfilled"
    plan = changing.company.rows("SELECT approval_reasons FROM plans WHERE request_id = :r", r=again.id)[0]
    assert plan.approval_reasons == []


def test_the_policy_erase_asks_about_somebody_to_whom_an_identifier_passed(changing: ChangingSystem) -> None:
    """The mailbox of an erased person is another customer's now, says the graph."""
    import duckdb

    policy(changing, "erase")
    person, other = changing.company.world.ordinary[:2]
    changing.erase(person)
    with duckdb.connect(str(changing.company.warehouse)) as warehouse:
        columns = [row[0] for row in warehouse.execute("DESCRIBE identity_edges").fetchall()]
        edge = {"left_kind": "email", "left_value": person.emails[0], "right_kind": "email"}
        row = {**dict.fromkeys(columns), **edge, "right_value": other.emails[0], "source": "crm"}
        marks = ", ".join("?" for _ in columns)
        warehouse.execute(f"INSERT INTO identity_edges VALUES ({marks})", [row[name] for name in columns])
    changing.shows(email_of(person))
    changing.sync()
    changing.company.drive()
    (again,) = changing.opened()
    assert again.reason == "awaiting_approval"
    assert changing.company.residue(other) != []


# --- trouble -----------------------------------------------------------------------------------------------------------


def test_a_blind_credential_moves_nothing_and_is_told(changing: ChangingSystem) -> None:
    changing.erase(ordinary(changing))
    changing.shows(email_of(ordinary(changing)))
    changing.refuses = CredentialsRefused("blind_credential")
    assert changing.sync() == 0
    row = changing.row
    assert (row.cursor, row.last_error, row.tries, row.last_success_at) == (None, "blind_credential", 1, None)
    assert row.lease_until is None
    changing.refuses = None
    assert changing.sync() == 1
    assert (changing.row.last_error, changing.row.tries) == (None, 0)


def test_trouble_that_passes_is_tried_again_sooner(changing: ChangingSystem) -> None:
    changing.refuses = TemporarilyUnavailable("timeout")
    changing.sync()
    wait = "SELECT extract(epoch FROM due_at - clock_timestamp()) AS s FROM suppression_syncs"
    assert changing.company.rows(wait)[0].s < 30
    changing.refuses = CredentialsRefused("unauthorized")
    changing.sync()
    assert changing.company.rows(wait)[0].s > 600


def test_pages_are_read_to_the_end_and_then_rested(changing: ChangingSystem) -> None:
    for _ in range(7):
        changing.shows(STRANGER)
    changing.sync()
    assert changing.asked == [None, "3", "6"]
    assert changing.row.cursor == "7"
    assert changing.company.rows("SELECT due_at > clock_timestamp() AS rests FROM suppression_syncs")[0].rests


def test_a_system_that_is_gone_is_not_read(changing: ChangingSystem) -> None:
    use(changing.company, without(changing.company, SYSTEM))
    changing.sync()
    assert changing.asked == []


# --- the mechanisms, switched off --------------------------------------------------------------------------------------


def _moves_the_cursor_first(patch: pytest.MonkeyPatch) -> None:
    whole = record_changes.open_reappearances

    def early(connection: Any, settings: Any, system: Any, drafts: Any, now: Any) -> None:
        engine = connection.engine
        with engine.begin() as other:
            from sqlalchemy import text

            other.execute(text("UPDATE suppression_syncs SET cursor = '1'"))
        whole(connection, settings, system, drafts, now)

    patch.setattr(record_changes, "open_reappearances", early)


def _hashes_as_it_came(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(record_changes, "normalise", lambda identifier, region: identifier)


def _forgets_what_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(know_reappeared, "_told", lambda *args: frozenset())
    patch.setattr(know_reappeared, "_holders", lambda *args: {})


def _reads_removed_entries(patch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import text

    patch.setattr(know_reappeared, "_ENTRIES", text(str(know_reappeared._ENTRIES).replace("removed_at IS NULL", "true")))


MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Callable[[ChangingSystem], None]]] = {
    "cursor_moved_before_commit": (_moves_the_cursor_first, a_crash_before_the_commit_leaves_nothing_behind),
    "normalisation_skipped": (_hashes_as_it_came, test_only_what_stands_on_the_list_is_taken_from_a_record),
    "dedupe_off": (_forgets_what_was_told, a_page_that_is_delivered_twice_opens_one_request),
    "removed_at_ignored": (_reads_removed_entries, whoever_is_not_on_the_list_any_more_is_nobodys),
}


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_each_wrong_version_is_caught(changing: ChangingSystem, mutant: str) -> None:
    switch_off, scenario = MUTANTS[mutant]
    with pytest.MonkeyPatch.context() as patch:
        switch_off(patch)
        with pytest.raises(AssertionError):
            scenario(changing)


