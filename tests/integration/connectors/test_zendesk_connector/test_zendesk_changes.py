"""Users that Zendesk's export says were created or changed, with all their identities, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, TemporarilyUnavailable
from connectors.base.values import ChangePage
from connectors.testing.sandbox.faults import Fault, FaultKind
from connectors.zendesk.connector import ZendeskConnector

from .conftest import World

BEGIN = datetime.now(UTC) - timedelta(hours=3)


def at(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def user(email: str, minutes: float, **more: Any) -> dict[str, Any]:
    return {"email": email, "updated_at": at(minutes), **more}


def read(connector: ZendeskConnector, cursor: str | None = None) -> list[ChangePage]:
    pages: list[ChangePage] = []
    while not pages or pages[-1].more:
        assert len(pages) < 50
        pages.append(operations.changed_since(connector, pages[-1].cursor if pages else cursor, BEGIN))
    return pages


def emails(pages: list[ChangePage]) -> set[str]:
    found = {i.value for page in pages for each in page.records for i in each.identifiers if i.kind == "email"}
    return found - {"admin@acme.example"}


def test_every_identity_of_a_changed_user_is_returned(world: World) -> None:
    """The export itself shows the primary address only."""
    ada = user("ada@example.test", 1, emails=["ada@work.test"], phone="+12025550100", external_id="c-1")
    world.reset({"users": [ada, user("old@example.test", -6)]})
    pages = read(world.connector())
    (record,) = [each for each in pages[0].records if each.record.id != "1"]
    assert {(i.kind, i.value) for i in record.identifiers} == {
        ("email", "ada@example.test"),
        ("email", "ada@work.test"),
        ("phone", "+12025550100"),
        ("customer_id", "c-1"),
        ("zendesk_user_id", record.record.id),
    }
    assert record.changed_at.strftime("%Y-%m-%dT%H:%M:%SZ") == at(1)


def test_deleted_users_are_not_returned(world: World) -> None:
    world.reset({"users": [user("ada@example.test", 1), user("gone@example.test", 2, deleted=True)]})
    assert emails(read(world.connector())) == {"ada@example.test"}


def test_pages_go_on_at_the_last_second_and_leave_nobody_out(world: World) -> None:
    people = {f"p{n}@example.test": 1.0 if n < 7 else float(n) for n in range(12)}
    world.reset({"users": [user(email, minutes) for email, minutes in people.items()]}, export_rows=3)
    pages = read(world.connector())
    assert emails(pages) == set(people)
    assert len(pages) > 3


def test_the_most_recent_minute_comes_with_a_later_page(world: World) -> None:
    world.reset({"users": [user("ada@example.test", 1)]})
    first = read(world.connector())
    world.sandbox.seed({"users": [{"email": "bob@example.test"}]})
    assert "bob@example.test" not in emails(read(world.connector(), first[-1].cursor))
    world.sandbox.clock_offset += timedelta(seconds=61)
    assert "bob@example.test" in emails(read(world.connector(), first[-1].cursor))


def test_a_change_that_is_shown_late_is_within_the_overlap(world: World) -> None:
    world.reset({"users": [user("ada@example.test", 100)]})
    first = read(world.connector())
    world.sandbox.seed({"users": [user("late@example.test", 96)]})
    assert "late@example.test" in emails(read(world.connector(), first[-1].cursor))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"end_time": None}, "field_missing:end_time"),
        ({"end_time": 5}, "field_missing:end_time"),
        ({"end_of_stream": "yes"}, "field_missing:end_of_stream"),
        ({"users": [{"id": 2, "updated_at": at(1)}]}, "field_missing:active"),
        ({"users": [{"id": 2, "active": True, "updated_at": "soon"}]}, "field_missing:updated_at"),
    ],
)
def test_odd_answers_are_not_believed(world: World, change: dict[str, Any], code: str) -> None:
    row = {"id": 2, "active": False, "updated_at": at(1)}
    body = {"users": [row], "end_time": int(BEGIN.timestamp()) + 60, "end_of_stream": True, "count": 1} | change
    world.reset()
    world.sandbox.faults = [Fault(FaultKind.STATUS, path="/incremental/", status=200, body=body, times=None)]
    assert _refused(world.connector()).code == code
    with pytest.raises(AnswerNotUnderstood, match="cursor"):
        world.connector().changed_since("nonsense", BEGIN)


def test_the_exports_own_limit_is_waited_for(world: World) -> None:
    world.reset({"users": [user("ada@example.test", 1)]})
    world.sandbox.faults = [Fault(FaultKind.STATUS, path="/incremental/", status=429, retry_after="7", times=None)]
    refused = _refused(world.connector())
    assert isinstance(refused, TemporarilyUnavailable)
    assert refused.retry_after_seconds == 7


def _refused(connector: ZendeskConnector) -> ConnectorError:
    with pytest.raises(ConnectorError) as refused:
        operations.changed_since(connector, None, BEGIN)
    return refused.value
