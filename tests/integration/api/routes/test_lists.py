"""Lists: filters, pages that neither repeat nor miss a row, and the connected systems."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.integration.api.conftest import Office


def test_pages_neither_repeat_nor_miss(office: Office) -> None:
    ids = [str(office.submit(f"p{n}@example.test")) for n in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = office.call("GET", "/v1/requests", params=query).json()
        seen += [each["id"] for each in page["requests"]]
        office.submit(f"late{len(seen)}@example.test")
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_filters_narrow(office: Office) -> None:
    plain = office.submit("plain@example.test", regime="ccpa")
    late = office.submit("late@example.test", external_reference="late-1")
    office.put(late, overdue_at=datetime.now(UTC), respond_by=datetime.now(UTC) - timedelta(days=1))
    office.add_step(late, state="parked", due_at=None)

    for query, expected in (
        ({"regime": "ccpa"}, [plain]),
        ({"overdue": "true"}, [late]),
        ({"overdue": "false"}, [plain]),
        ({"parked": "true"}, [late]),
        ({"parked": "false"}, [plain]),
        ({"external_reference": "late-1"}, [late]),
        ({"respond_before": datetime.now(UTC).isoformat()}, [late]),
        ({"state": "open"}, [late, plain]),
        ({"state": "denied"}, []),
        ({"reason": "duplicate"}, []),
        ({"kind": "erasure", "state": "open", "regime": "gdpr"}, [late]),
    ):
        page = office.call("GET", "/v1/requests", params=query).json()
        assert [each["id"] for each in page["requests"]] == [str(each) for each in expected], query
    (summary,) = office.call("GET", "/v1/requests", params={"parked": "true"}).json()["requests"]
    assert (summary["steps"], summary["steps_ended"], summary["steps_parked"]) == (1, 0, 1)


def test_an_unknown_filter_is_refused(office: Office) -> None:
    for query in (
        {"cursor": "x"},
        {"cursor": "AAAA"},
        {"cursor": "LTEuMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA"},
        {"cursor": "\x00"},
        {"limit": "0"},
        {"limit": "99999999999999999999999"},
        {"state": "sleeping"},
        {"email": "ada@example.test"},
        {"respond_before": "tomorrow"},
        {"external_reference": "a b"},
    ):
        answer = office.call("GET", "/v1/requests", params=query)
        assert answer.status_code == 422, query
        assert "ada@example.test" not in answer.text
        assert answer.json()["errors"]


def test_systems_show_their_declarations(office: Office) -> None:
    systems = office.call("GET", "/v1/systems").json()["systems"]

    assert [each["name"] for each in systems] == ["support", "support-eu"]
    assert systems[0]["state"] == "active"
    assert "erase" in systems[0]["declaration"]["operations"]
    assert "email" in systems[0]["declaration"]["identifier_kinds"]
    assert "stand-in" not in str(systems)


def test_a_reference_lists_the_requests_of_every_key_that_used_it(office: Office) -> None:
    own = office.submit("ada@example.test", external_reference="case-1")
    foreign = office.submit("bob@example.test", external_reference="case-1", key=office.new_key())
    office.submit("cy@example.test", external_reference="case-2")

    page = office.call("GET", "/v1/requests", params={"external_reference": "case-1"}).json()

    assert [each["id"] for each in page["requests"]] == [str(foreign), str(own)]


def test_a_system_in_cooldown_says_until_when_and_why(office: Office) -> None:
    until = "clock_timestamp() + interval '1 hour'"
    office.write(
        f"UPDATE systems SET cooldown_until = {until}, cooldown_reason = 'rate_limited' WHERE name = 'support'"
    )
    systems = {each["name"]: each for each in office.call("GET", "/v1/systems").json()["systems"]}
    assert (systems["support"]["cooldown_reason"], systems["support"]["cooldown_until"] is None) == (
        "rate_limited",
        False,
    )
    office.write("UPDATE systems SET cooldown_until = clock_timestamp() - interval '1 second' WHERE name = 'support'")
    systems = {each["name"]: each for each in office.call("GET", "/v1/systems").json()["systems"]}
    assert (systems["support"]["cooldown_reason"], systems["support"]["cooldown_until"]) == (None, None)


def test_a_step_says_which_records_remain(office: Office) -> None:
    request_id = office.submit("ada@example.test")
    office.add_step(request_id, state="parked", due_at=None, reason="still_there", remaining={"users:still_there": 2})
    (step,) = office.show(request_id)["steps"]
    assert step["remaining"] == {"users:still_there": 2}
