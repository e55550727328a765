"""Members that Mailchimp says were created or changed: all audiences, page by page, whatever moves meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood
from connectors.base.values import ChangePage
from connectors.mailchimp import changes
from connectors.mailchimp.connector import MailchimpConnector
from connectors.testing.sandbox.faults import Fault, FaultKind
from tests.integration.connectors.test_mailchimp import ADA, BOB, EVE, Stage, member
from tests.integration.connectors.test_mailchimp import stage as stage

BEGIN = datetime.now(UTC) - timedelta(hours=3)


def at(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat(timespec="seconds")


def changed(email: str, minutes: float, **more: Any) -> dict[str, Any]:
    return member(email, last_changed=at(minutes), **more)


def read(connector: MailchimpConnector, cursor: str | None = None) -> list[ChangePage]:
    pages: list[ChangePage] = []
    while not pages or pages[-1].more:
        assert len(pages) < 100
        pages.append(operations.changed_since(connector, pages[-1].cursor if pages else cursor, BEGIN))
    return pages


def emails(pages: list[ChangePage]) -> set[str]:
    return {i.value for page in pages for each in page.records for i in each.identifiers if i.kind == "email"}


def test_every_audience_is_read_and_its_archived_members_too(stage: Stage) -> None:
    stage.seed(a1=[changed(ADA, 1)], a2=[changed(BOB, 2, status="archived")], a3=[changed(EVE, 3, status="cleaned")])
    pages = read(stage.connect())
    assert emails(pages) == {ADA, BOB, EVE}
    assert [page.more for page in pages] == [True] * 5 + [False]


def test_a_change_before_the_beginning_and_its_overlap_is_not_returned(stage: Stage) -> None:
    stage.seed(a1=[changed(ADA, -11), changed(BOB, -9), changed(EVE, 0)])
    assert emails(read(stage.connect())) == {BOB, EVE}


def test_a_member_carries_all_its_identifiers(stage: Stage) -> None:
    stage.seed(a1=[changed(ADA, 1, contact_id="c-1", merge_fields={"PHONE": "+12025550100"})])
    (record,) = read(stage.connect())[0].records
    assert {(i.kind, i.value) for i in record.identifiers} == {
        ("email", ADA),
        ("mailchimp_contact_id", "c-1"),
        ("phone", "+12025550100"),
    }
    assert record.changed_at == datetime.fromisoformat(at(1))


def test_pages_of_one_instant_leave_nobody_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import gives many members one instant: more than a page of them."""
    _small_pages(monkeypatch, 4)
    people = {f"p{n}@example.test": 5.0 if n < 11 else 6.0 for n in range(15)}
    stage.seed(a1=[changed(email, minutes) for email, minutes in people.items()])
    assert emails(read(stage.connect())) == set(people)


def test_a_member_that_changes_between_two_pages_hides_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _small_pages(monkeypatch, 4)
    people = [f"p{n:02}@example.test" for n in range(12)]
    stage.seed(a1=[changed(email, float(n)) for n, email in enumerate(people)])
    connector = stage.connect()
    pages = [operations.changed_since(connector, None, BEGIN)]
    for email in people[:3]:
        row = stage.member("a1", email)
        assert row is not None
        row["last_changed"] = at(100)
    pages += read(connector, pages[0].cursor)
    assert emails(pages) == set(people)


def test_the_next_round_begins_before_this_one_began(stage: Stage) -> None:
    """A change that Mailchimp shows late, under an instant within the overlap, is returned by the next round."""
    stage.seed(a1=[changed(ADA, 1)])
    connector = stage.connect()
    first = read(connector)
    late = (datetime.now(UTC) - timedelta(minutes=8)).isoformat(timespec="seconds")
    stage.seed(a1=[member(BOB, last_changed=late)])
    again = read(connector, first[-1].cursor)
    assert emails(again) == {BOB}


def test_an_audience_that_was_deleted_meanwhile_ends_no_round(stage: Stage) -> None:
    stage.seed(a1=[changed(ADA, 1)], a2=[changed(BOB, 1)], a3=[changed(EVE, 1)])
    connector = stage.connect()
    pages = [operations.changed_since(connector, None, BEGIN)]
    pages.append(operations.changed_since(connector, pages[-1].cursor, BEGIN))
    for name in ("lists", "members"):
        del stage.sandbox.state[name]["a2"]
    pages += read(connector, pages[-1].cursor)
    assert emails(pages) == {ADA, EVE}


def test_members_out_of_order_and_odd_answers_are_not_believed(stage: Stage) -> None:
    stage.seed(a1=[changed(ADA, 1), changed(BOB, 2)])
    connector = stage.connect()

    def answer(rows: list[dict[str, Any]]) -> Fault:
        body = {"members": rows, "list_id": "a1", "total_items": len(rows)}
        return Fault(FaultKind.STATUS, path="/members", status=200, body=body, times=None)

    row = {"id": "0" * 32, "list_id": "a1", "contact_id": "c", "email_address": ADA, "merge_fields": {}}
    for rows, code in (
        ([{**row, "last_changed": at(2)}, {**row, "last_changed": at(1)}], "changes_not_sorted"),
        ([{**row, "last_changed": "yesterday"}], "instant"),
        ([{**row, "list_id": "a2", "last_changed": at(1)}], "member_of_other_audience"),
    ):
        stage.breaks(answer(rows))
        reader = changes.ChangeReader(connector.http, ["a1"], connector.carried, "member")
        with pytest.raises(AnswerNotUnderstood) as refused:
            reader.page(None, BEGIN)
        assert refused.value.code == code
    with pytest.raises(AnswerNotUnderstood, match="cursor"):
        connector.changed_since("nonsense", BEGIN)


def _small_pages(patch: pytest.MonkeyPatch, rows: int) -> None:
    patch.setattr(changes, "ROWS_PER_PAGE", rows)
    patch.setattr(changes, "_STEP_BACK", 1)
    patch.setitem(changes._PAGE.params, "count", str(rows))
