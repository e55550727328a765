"""Zendesk under the suite: a user with tickets, of which one is closed, one archived and one suspended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connectors.base.values import Identifier
from connectors.testing.conformance import ConformanceSuite, HttpVendorFixture, TestPerson
from connectors.testing.conformance.people import make_person

_CROWD = 101


class ZendeskFixture(HttpVendorFixture):
    name = "zendesk"
    # Tickets are destroyed and listed a hundred at a time.
    related_over_pages = 203
    credentials: ClassVar[Mapping[str, Any]] = {"email": "robot@acme.example", "api_token": "conformance-token-1"}
    # The vendor's export leaves out the most recent minute, in which the suite's people came.
    options: ClassVar[Mapping[str, Any]] = {**credentials, "export_lag_seconds": 0}

    def system(self, base_url: str) -> dict[str, Any]:
        return {
            "name": "zendesk",
            "connector": "zendesk",
            "base_url": base_url,
            "credentials": dict(self.credentials),
            "delays": {"confirm_after": 0, "poll_every": 0.02, "purge_after": 0},
        }

    def account(self) -> Any:
        return {"organizations": [{"id": 7, "name": "Acme"}]}

    def people(self, people: Sequence[TestPerson]) -> Any:
        return {
            "users": [
                {"id": _id(p.ref), "email": p.identifier.value, "name": p.name, "organization_id": 7} for p in people
            ],
            "tickets": [_ticket(p, n) for p in people for n in range(p.related)],
            "suspended_tickets": [
                {
                    "id": _id(f"{p.ref}/suspended"),
                    "content": f"Why do you not answer {p.name}?",
                    "author": {"email": p.identifier.value, "name": p.name},
                }
                for p in people
                if p.related
            ],
        }

    def slow_options(self) -> dict[str, Any]:
        return {"job_seconds": 0.2}

    def crowd(self, person: TestPerson) -> Sequence[TestPerson]:
        """Strangers in whose names the words of the address stand: the search answers them all, a hundred a page."""
        words = person.identifier.value.replace("@", " ").replace(".", " ")
        return [
            make_person(
                f"{_CROWD_REF}{n}", Identifier("email", f"stranger{n}@elsewhere.test"), related=0, name=f"{words} {n}"
            )
            for n in range(_CROWD)
        ]


_CROWD_REF = "crowd-"


def _id(ref: str) -> int:
    """The crowd comes first in every list; everybody else behind it."""
    if ref.startswith(_CROWD_REF):
        return 2000 + int(ref.removeprefix(_CROWD_REF))
    return 10**6 + int(hashlib.sha256(ref.encode()).hexdigest(), 16) % 10**9


def _ticket(person: TestPerson, n: int) -> dict[str, Any]:
    status = ("open", "closed", "solved")[n % 3]
    return {
        "id": _id(f"{person.ref}/{n}"),
        "requester_id": _id(person.ref),
        "subject": f"{person.name} asks {n}",
        "status": status,
        "archived": n % 6 == 1,
    }


class TestZendesk(ConformanceSuite):
    vendor = ZendeskFixture()
