"""A request's whole way through the engine, against real servers and stand-ins."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.base.outbound.transport import StrictTransport
from connectors.testing.sandbox.sample_world import SamplePerson
from tests.company import Company


def strangers(records: list[dict[str, Any]], person: SamplePerson) -> list[dict[str, Any]]:
    """Records of everybody else: those that neither name the person nor hang on a user who does."""
    own = [r for r in records if any(v in str(r) for v in person.residue_values)]
    users = {r["id"] for r in own if r["object"] == "user"}
    gone = {"job", "forgotten", "ghost"}
    return [
        r
        for r in records
        if r not in own and r["object"] not in gone and r.get("requester_id") not in users and not _is_empty_user(r)
    ]


def _is_empty_user(record: dict[str, Any]) -> bool:
    return record["object"] == "user" and bool(record.get("permanently_deleted"))


@pytest.mark.parametrize("company", [{"tables": None}], indirect=True)
def test_a_person_is_erased_everywhere_and_nobody_else(company: Company) -> None:
    person = company.world.ordinary[0]
    before = {name: s.records() for name, s in company.sandboxes.items()}

    request = company.submit(person)
    company.drive()

    steps = company.steps(request)
    assert {s.state for s in steps.values()} <= {"erased_verified", "absent"}, {
        n: (s.phase, s.state, s.reason) for n, s in steps.items()
    }
    assert len(steps) == 5
    assert company.request(request).state == "fulfilled"
    assert company.residue(person) == []
    for name, stand_in in company.sandboxes.items():
        assert strangers(before[name], person) == strangers(stand_in.records(), person)


@pytest.mark.slow(seconds=23)
@pytest.mark.parametrize("company", [{"org": True, "people": 20}], indirect=True)
def test_each_system_has_one_pool_of_connections(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport keeps a system's connections: another one for each batch would connect anew each time."""
    opened: list[object] = []
    original = StrictTransport.__init__

    def counted(self: StrictTransport, *arguments: Any, **options: Any) -> None:
        opened.append(self)
        original(self, *arguments, **options)

    monkeypatch.setattr(StrictTransport, "__init__", counted)
    requests = []
    for person in company.world.ordinary[:3]:
        requests.append(company.submit(person))
        company.drive()

    assert [company.request(request).state for request in requests] == ["fulfilled"] * 3
    called = [system for system in company.settings.systems if system.config.connector != "warehouse"]
    assert len(called) > 2
    assert len(opened) == len(called)
