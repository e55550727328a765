"""What a credential sees and how much it may do at once; what the org does by itself meanwhile."""

from __future__ import annotations

import threading

import pytest

from connectors.base.errors import CredentialsRefused
from connectors.testing.sandbox.faults import Fault, FaultKind

from ..connecting import serving
from ..org_client import opened, row
from ..world import ordinary_world


def test_without_the_right_to_see_all_what_others_own_is_not_there() -> None:
    with opened(permissions={"view_all_data": False}) as client:
        client.seed(
            row("User", "clerk", Username="c@example.test", Email="c@example.test", LastName="C", Alias="c"),
            row("Contact", "ours", LastName="A", Email="ada@example.test"),
            row("Contact", "theirs", LastName="A", Email="ada@example.test", OwnerId="@clerk"),
            row("Case", "case", ContactId="@ours", Status="New", OwnerId="@clerk"),
        )
        by_email = "SELECT Id, (SELECT Id FROM Cases) FROM Contact WHERE Email = 'ada@example.test'"
        (found,) = client.query(by_email).json()["records"]
        assert (found["Id"], found["Cases"]) == (client.id("ours"), None)
        client.sandbox.options["permissions"] = {}
        assert client.query(by_email).json()["totalSize"] == 2


def test_a_credential_that_does_not_see_all_is_refused() -> None:
    with serving(ordinary_world(1), permissions={"view_all_data": False, "modify_all_data": False}) as org:
        with pytest.raises(CredentialsRefused) as caught:
            org.connect().check_credentials()
        assert caught.value.code == "missing_scope"


def test_too_many_calls_at_once_are_refused() -> None:
    with opened(concurrent_limit=1) as client:
        client.sandbox.faults = [Fault(FaultKind.STALL, seconds=0.5, path="/query$")]
        slow = threading.Thread(target=lambda: client.query("SELECT Id FROM Contact", everything=False))
        slow.start()
        while not client.sandbox.journal or not client.sandbox.journal[-1]["fault"]:
            slow.join(0.01)
        answer = client.call("GET", "/limits")
        slow.join()
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
        assert client.call("GET", "/limits").status_code == 200


def test_a_full_bin_loses_its_oldest_entries_after_two_hours() -> None:
    with opened(bin_capacity=1) as client:
        client.seed(*(row("Contact", name, LastName="A") for name in ("first", "second")))
        everybody = "SELECT Id FROM Contact"
        client.codes("first")
        client.sandbox.advance_clock(minutes=10)
        client.codes("second")
        assert len(client.ids(everybody)) == 2, "too young to go"
        client.sandbox.advance_clock(minutes=115)
        client.log_in()
        assert client.ids(everybody) == [client.id("second")]


def test_record_counts_are_yesterdays() -> None:
    with opened() as client:
        client.seed(row("Contact", "ada", LastName="A"))
        client.codes("ada")
        counts = client.call("GET", "/limits/recordCount", params={"sObjects": "Contact"}).json()["sObjects"]
        assert counts == [{"name": "Contact", "count": 1}]


def test_records_come_in_after_deletions() -> None:
    late = {"object": "Task", "ref": "late", "fields": {"WhoId": "@bob", "Status": "Open"}}
    with opened(arrivals=[{"after_deletions": 1, "records": [late]}]) as client:
        client.seed(row("Contact", "ada", LastName="A"), row("Contact", "bob", LastName="B"))
        assert client.ids("SELECT Id FROM Task") == []
        client.codes("ada")
        assert client.ids("SELECT Id FROM Task") == [client.id("late")]
        assert client.ids("SELECT Id FROM Task") == [client.id("late")], "once"
