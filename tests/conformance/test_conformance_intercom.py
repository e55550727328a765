"""Intercom under the suite: contacts of one address on several pages, with conversations and tickets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connectors.testing.conformance import ConformanceSuite, HttpVendorFixture, Need, TestPerson


class IntercomFixture(HttpVendorFixture):
    name = "intercom"
    options: ClassVar[Mapping[str, Any]] = {"access_token": "conformance-token-1", "rows_per_page": 2}
    lacks: ClassVar[Mapping[Need, str]] = {Need.JOBS: "contacts are deleted one by one, at once"}
    roots_over_pages = 9

    def system(self, base_url: str) -> dict[str, Any]:
        return {
            "name": "intercom",
            "connector": "intercom",
            "base_url": base_url,
            "credentials": {"access_token": self.options["access_token"]},
            "policy": {"control_email": "control@acme.example"},
            "delays": {"confirm_after": 0},
        }

    def account(self) -> Any:
        return {}

    def people(self, people: Sequence[TestPerson]) -> Any:
        return {
            "contacts": [_contact(person, n) for person in people for n in range(person.roots)],
            "conversations": [_hanging(person, n) for person in people for n in range(0, person.related, 2)],
            "tickets": [_hanging(person, n) for person in people for n in range(1, person.related, 2)],
        }

    def error_body(self, status: int) -> Any:
        return {"type": "error.list", "errors": [{"code": "server_error"}]}


def _contact(person: TestPerson, n: int) -> dict[str, Any]:
    row = {"id": f"c-{person.ref}-{n}", "email": None, "external_id": None, "phone": None, "name": person.name}
    return row | {"email" if person.identifier.kind == "email" else "external_id": person.identifier.value}


def _hanging(person: TestPerson, n: int) -> dict[str, Any]:
    return {"id": f"h-{person.ref}-{n}", "contacts": [f"c-{person.ref}-0"], "body": f"{person.name} asks {n}"}


class TestIntercom(ConformanceSuite):
    vendor = IntercomFixture()
