"""Amplitude under the suite: users known by user ids, deleted by a job that all people of a day share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connectors.testing.conformance import ConformanceSuite, HttpVendorFixture, Need, TestPerson


class AmplitudeFixture(HttpVendorFixture):
    name = "amplitude"
    kind = "customer_id"
    options: ClassVar[Mapping[str, Any]] = {"api_key": "conformance-key", "secret_key": "conformance-secret"}
    lacks: ClassVar[Mapping[Need, str]] = {
        Need.RELATED: "a user's events go with the user",
        Need.PAGES: "neither the search nor the list of jobs has pages",
    }

    def system(self, base_url: str) -> dict[str, Any]:
        return {
            "name": "amplitude",
            "connector": "amplitude",
            "base_url": base_url,
            "credentials": dict(self.options),
            "policy": {"control_user_id": "expunge-control"},
            "delays": {"confirm_after": 0, "poll_every": 0.02},
        }

    def account(self) -> Any:
        return {}

    def people(self, people: Sequence[TestPerson]) -> Any:
        return {"users": [_user(person) for person in people]}

    def slow_options(self) -> dict[str, Any]:
        return {"job_seconds": 0.3}


def _user(person: TestPerson) -> dict[str, Any]:
    amplitude_id = 10**6 + int(hashlib.sha256(person.ref.encode()).hexdigest(), 16) % 10**9
    return {"amplitude_id": amplitude_id, "user_id": person.identifier.value, "name": person.name}


class TestAmplitude(ConformanceSuite):
    vendor = AmplitudeFixture()
