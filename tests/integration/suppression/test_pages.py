"""What becomes of a page of changes: who opens a request, who waits, who is nobody's; and each page counts once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from connectors.base.errors import CredentialsRefused, LeaseLost, TemporarilyUnavailable
from connectors.base.values import Identifier
from service.domain.requests.states import DenialReason
from service.domain.suppression.reappearance import Entry
from service.requests.planning.reappearance_policy import reappearances_to_approve
from service.requests.withdraw import deny_request
from service.store.tables.requests import SuppressionRow
from service.suppression import lookup as know_reappeared
from service.suppression import match_changes as record_changes
from service.suppression.scan_schedule import due_syncs, lease_sync
from tests.integration.execution.select.rows import settings_with
from tests.integration.suppression.changing_system import SYSTEM, ChangingSystem, email

ADA, STRANGER, PHONE = email("ada"), email("stranger"), Identifier("phone", "+12025550147")


def deny(changing: ChangingSystem, request: Any) -> None:
    deny_request(changing.stores, request, reason=DenialReason.NO_MATCH, actor="key:x")


# --- who is found -----------------------------------------------------------------------------------------------------


def only_what_stands_on_the_list_is_taken_from_a_record(changing: ChangingSystem) -> None:
    first = changing.erased(ADA, regime="ccpa")
    changing.shows(STRANGER)
    changing.shows(Identifier("email", " ADA@Example.TEST "), STRANGER, Identifier("phone", "not a number"))
    assert changing.sync() == 1
    (again,) = changing.opened()
    assert (again.reappearance_of, again.regime, again.state, again.next_action) == (first, "ccpa", "open", "identify")
    (row,) = changing.read("SELECT * FROM identifiers WHERE request_id = :r", r=again.id)
    assert (row.kind, row.verification_method) == ("email", "suppression_list")
    assert changing.row.found == 1
    # The audit log says whose re-appearance it is, and where; and nothing of the person.
    told = [entry for entry in changing.entries() if '"person_reappeared"' in entry]
    assert len(told) == 1
    assert all(word in told[0] for word in (str(first), f'"{SYSTEM}"', '"records":1', '"actor":"worker"'))
    assert "example.test" not in "".join(changing.entries()).lower()


def test_only_what_stands_on_the_list_is_taken_from_a_record(changing: ChangingSystem) -> None:
    only_what_stands_on_the_list_is_taken_from_a_record(changing)


def test_records_of_one_person_on_a_page_make_one_request(changing: ChangingSystem) -> None:
    changing.erased(ADA, PHONE)
    changing.erased(email("eve"))
    changing.shows(ADA)
    changing.shows(PHONE, STRANGER)
    changing.shows(email("eve"))
    assert changing.sync() == 2
    assert sorted(changing.kinds_of(again.id) for again in changing.opened()) == [["email"], ["email", "phone"]]
    assert len(changing.read("SELECT 1 FROM reappearances")) == 3


def test_somebody_with_more_identifiers_than_a_submission_takes_is_in_several(changing: ChangingSystem) -> None:
    many = [email(f"ada-{n}") for n in range(60)]
    first = changing.erased(*many[:40])
    second = changing.erased(*many[40:])
    changing.write("UPDATE requests SET reappearance_of = :f WHERE id = :s", f=first, s=second)
    changing.shows(*many)
    assert changing.sync() == 2
    again = [request.id for request in changing.opened() if request.id != second]
    assert sorted(len(changing.kinds_of(request)) for request in again) == [10, 50]


def whoever_is_not_on_the_list_any_more_is_nobodys(changing: ChangingSystem) -> None:
    request = changing.submit(ADA)
    changing.freeze(request)
    deny(changing, request)
    changing.shows(ADA)
    assert changing.sync() == 0
    assert (changing.opened(), changing.waits()) == ([], [])


def test_whoever_is_not_on_the_list_any_more_is_nobodys(changing: ChangingSystem) -> None:
    whoever_is_not_on_the_list_any_more_is_nobodys(changing)


def test_what_was_left_on_purpose_does_not_reappear(changing: ChangingSystem) -> None:
    request = changing.erased(ADA)
    kept = changing.shows(ADA)
    changing.step(request, "retained", kept)
    assert changing.sync() == 0
    # What went and is there again does, under the same id as well.
    changing.step(request, "erased_verified", kept)
    assert changing.sync(anew=True) == 1


# --- each once --------------------------------------------------------------------------------------------------------


def a_page_that_is_delivered_twice_opens_one_request(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    changing.shows(ADA)
    assert changing.sync() == 1
    assert changing.sync(anew=True) == 0
    # Also when its request has ended and the record is still there, in the same state.
    changing.freeze(changing.opened()[0].id)
    changing.end(changing.opened()[0].id)
    assert changing.sync(anew=True) == 0
    assert len(changing.opened()) == 1


def test_a_page_that_is_delivered_twice_opens_one_request(changing: ChangingSystem) -> None:
    a_page_that_is_delivered_twice_opens_one_request(changing)


def test_a_record_that_changes_after_its_request_has_ended_is_a_new_reappearance(changing: ChangingSystem) -> None:
    first = changing.erased(ADA)
    seen = changing.shows(ADA)
    changing.sync()
    changing.freeze(changing.opened()[0].id)
    changing.end(changing.opened()[0].id)
    changing.shows(ADA, record=seen.record.id)
    assert changing.sync() == 1
    # It goes back to the person's first request, however often they came back.
    assert [again.reappearance_of for again in changing.opened()] == [first, first]


def a_crash_before_the_commit_leaves_nothing_behind(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    changing.shows(ADA)
    keys = changing.keys()
    with pytest.MonkeyPatch.context() as patch:
        whole = record_changes.advance_sync

        def dies(*args: Any, **named: Any) -> None:
            whole(*args, **named)
            raise KeyboardInterrupt

        patch.setattr(record_changes, "advance_sync", dies)
        with pytest.raises(KeyboardInterrupt):
            changing.sync()
    assert (changing.opened(), changing.row.cursor, changing.row.found) == ([], None, 0)
    # A key that nothing refers to is the sweeper's business, as after a submission that never committed.
    assert changing.keys() == keys + 1
    assert changing.sync() == 1
    assert changing.row.cursor == "1"


def test_a_crash_before_the_commit_leaves_nothing_behind(changing: ChangingSystem) -> None:
    a_crash_before_the_commit_leaves_nothing_behind(changing)


def test_whoever_lost_the_lease_records_nothing(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    changing.shows(ADA)
    late, now = changing.leased(), changing.leased()
    assert lease_sync(changing.stores, SYSTEM) is None
    page, keys = changing.changed_since(None, None, late.begin_at), changing.keys()
    with pytest.raises(LeaseLost):
        record_changes.record_changes(changing.stores, changing.settings, late, page)
    assert (changing.opened(), changing.row.cursor) == ([], None)
    assert changing.keys() == keys
    assert len(record_changes.record_changes(changing.stores, changing.settings, now, page)) == 1
    assert changing.row.cursor == "1"


def test_who_was_opened_by_another_system_meanwhile_is_left_to_it(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    changing.shows(ADA)
    keys = changing.keys()
    whole = record_changes.prepare_reappearances
    with pytest.MonkeyPatch.context() as patch:

        def slow(*args: Any) -> Any:
            drafts = whole(*args)
            changing.submit(ADA)
            return drafts

        patch.setattr(record_changes, "prepare_reappearances", slow)
        assert changing.sync() == 0
    assert changing.opened() == []
    assert changing.keys() == keys + 1  # the other request's, and none of a request that wasn't opened
    assert len(changing.waits()) == 1


# --- who waits --------------------------------------------------------------------------------------------------------


def test_somebody_at_work_is_waited_for_and_then_looked_for_again(changing: ChangingSystem) -> None:
    """A second request of the person is open when the record is seen; it is denied, and the record is still there."""
    first = changing.erased(ADA)
    second = changing.submit(ADA)
    for _ in range(4):
        changing.shows(STRANGER)
    changing.shows(ADA)
    assert changing.sync() == 0
    assert changing.waits() == [(second, "3")]
    changing.asked.clear()
    assert changing.sync() == 0
    assert changing.asked == ["5"]

    deny(changing, second)
    changing.asked.clear()
    assert changing.sync() == 1
    assert changing.asked == ["3", "5"]
    assert (changing.waits(), changing.row.cursor) == ([], "5")
    assert changing.opened()[0].reappearance_of == first


def test_the_first_page_is_read_again_too(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    second = changing.submit(ADA)
    changing.shows(ADA)
    assert changing.sync() == 0
    changing.end(second)
    changing.asked.clear()
    assert changing.sync() == 1
    assert changing.asked == [None, "1"]


def test_whose_erasure_is_not_done_in_the_system_does_not_reappear_there(changing: ChangingSystem) -> None:
    request = changing.erased(ADA)
    changing.step(request, "accepted")  # its vendor still purges
    changing.shows(ADA)
    assert changing.sync() == 0
    assert changing.sync() == 0
    assert changing.waits() == [(request, "")]
    changing.step(request, "erased_verified")
    assert changing.sync() == 1
    assert changing.waits() == []


def test_a_denied_reappearance_is_not_asked_about_again(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    seen = changing.shows(ADA)
    changing.sync()
    deny(changing, changing.opened()[0].id)
    changing.shows(ADA, record=seen.record.id)
    assert changing.sync() == 0
    # What the person asks for anew counts anew.
    changing.erased(ADA)
    changing.shows(ADA, record=seen.record.id)
    assert changing.sync() == 1


def test_what_a_reviewer_dropped_is_not_asked_about_again(changing: ChangingSystem) -> None:
    changing.erased(ADA, PHONE)
    changing.shows(ADA, PHONE)
    changing.sync()
    (again,) = changing.opened()
    changing.write("UPDATE identifiers SET use = 'dropped' WHERE request_id = :r AND kind = 'phone'", r=again.id)
    changing.shows(PHONE, STRANGER)
    assert (changing.sync(), changing.waits()) == (0, [])
    changing.end(again.id)
    changing.shows(ADA, PHONE)
    assert changing.sync() == 1
    assert changing.kinds_of(changing.opened()[1].id) == ["email"]


# --- what is done -----------------------------------------------------------------------------------------------------


def to_approve(changing: ChangingSystem, request: Any) -> bool:
    with changing.stores.engine.begin() as connection:
        return request in reappearances_to_approve(connection, changing.settings, [request])


def test_the_policy_erase_covers_only_whom_the_list_knew(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    changing.shows(ADA)
    changing.sync()
    again = changing.opened()[0].id
    changing.freeze(again)
    assert to_approve(changing, again)
    changing.policy("erase")
    assert not to_approve(changing, again)
    # The walk met somebody's identifier that was never on the list for this person.
    changing.write("UPDATE identifiers SET keyed_hash = '\\x00' WHERE request_id = :r", r=again)
    assert to_approve(changing, again)


def test_the_policy_report_waits_for_a_review(changing: ChangingSystem) -> None:
    changing.policy("report")
    changing.erased(ADA)
    changing.shows(ADA)
    assert changing.sync() == 1
    (again,) = changing.opened()
    assert (again.state, again.reason, again.next_action) == ("in_progress", "needs_review", None)
    assert again.doubts[0]["reason"] == "reappeared"
    assert sum('"review_opened"' in entry for entry in changing.entries()) == 1


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_a_blind_credential_moves_nothing_and_is_told(changing: ChangingSystem) -> None:
    changing.erased(ADA)
    changing.shows(ADA)
    changing.refuses = CredentialsRefused("no_visibility")
    assert changing.sync() == 0
    row = changing.row
    assert (row.cursor, row.last_error, row.consecutive_errors, row.last_success_at) == (None, "no_visibility", 1, None)
    assert row.lease_until is None
    changing.refuses = None
    assert changing.sync() == 1
    assert (changing.row.last_error, changing.row.consecutive_errors) == (None, 0)


def test_trouble_that_passes_is_tried_again_sooner(changing: ChangingSystem) -> None:
    wait = "SELECT extract(epoch FROM due_at - clock_timestamp()) AS seconds FROM suppression_syncs"
    changing.refuses = TemporarilyUnavailable("timeout")
    changing.sync()
    assert changing.read(wait)[0].seconds < 30
    changing.refuses = CredentialsRefused("unauthorized")
    changing.sync()
    assert changing.read(wait)[0].seconds > 600


def test_pages_are_read_to_the_end_and_then_rested(changing: ChangingSystem) -> None:
    for _ in range(7):
        changing.shows(STRANGER)
    assert due_syncs(changing.stores, changing.settings, nudge_again_seconds=60.0) == [(SYSTEM, "zendesk")]
    assert due_syncs(changing.stores, changing.settings, nudge_again_seconds=60.0) == []
    changing.sync()
    assert (changing.asked, changing.row.cursor) == ([None, "3", "6"], "7")
    assert due_syncs(changing.stores, changing.settings, nudge_again_seconds=60.0) == []
    assert changing.row.lease_until is None


def test_a_sync_that_is_switched_off_and_a_system_that_is_gone_are_not_read(changing: ChangingSystem) -> None:
    off = settings_with().suppression.model_copy(update={"sync_interval_seconds": 0.0})
    settings = changing.settings
    assert due_syncs(changing.stores, replace(settings, suppression=off), nudge_again_seconds=60.0) == []
    assert due_syncs(changing.stores, replace(settings, systems=()), nudge_again_seconds=60.0) == []
    changing.runtime.settings = replace(settings, systems=())
    changing.sync()
    assert changing.asked == []


# --- the mechanisms, switched off -------------------------------------------------------------------------------------


def _moves_the_cursor_first(patch: pytest.MonkeyPatch) -> None:
    whole = record_changes.open_reappearances

    def late(connection: Any, *args: Any) -> None:
        with connection.engine.begin() as other:
            other.execute(text("UPDATE suppression_syncs SET cursor = '1'"))
        whole(connection, *args)

    patch.setattr(record_changes, "open_reappearances", late)


def _hashes_as_it_came(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(record_changes, "normalise", lambda identifier, region: identifier)


def _forgets_what_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(know_reappeared.store, "read_known_states", lambda *args: frozenset())


def _sees_no_open_request(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(know_reappeared, "_holders", lambda *args: {})


def _reads_removed_entries(patch: pytest.MonkeyPatch) -> None:
    def find_all(connection: Connection, hashes: Collection[bytes]) -> list[Entry]:
        rows = connection.execute(
            select(SuppressionRow.keyed_hash, SuppressionRow.request_id, SuppressionRow.added_at).where(
                SuppressionRow.keyed_hash.in_(hashes)
            )
        )
        return [Entry(bytes(row.keyed_hash), row.request_id, row.added_at) for row in rows]

    patch.setattr(know_reappeared.store, "find_entries", find_all)


MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Callable[[ChangingSystem], None]]] = {
    "cursor_moved_before_commit": (_moves_the_cursor_first, a_crash_before_the_commit_leaves_nothing_behind),
    "normalisation_skipped": (_hashes_as_it_came, only_what_stands_on_the_list_is_taken_from_a_record),
    "dedupe_off": (_forgets_what_was_told, a_page_that_is_delivered_twice_opens_one_request),
    "open_requests_unseen": (_sees_no_open_request, test_somebody_at_work_is_waited_for_and_then_looked_for_again),
    "removed_at_ignored": (_reads_removed_entries, whoever_is_not_on_the_list_any_more_is_nobodys),
}


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_each_wrong_version_is_caught(changing: ChangingSystem, mutant: str) -> None:
    switch_off, scenario = MUTANTS[mutant]
    with pytest.MonkeyPatch.context() as patch:
        switch_off(patch)
        with pytest.raises(AssertionError):
            scenario(changing)
