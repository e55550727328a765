"""Mailchimp under the suite: a member of three audiences, archived in one; erased by direct calls, and by jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connectors.testing.conformance import ConformanceSuite, HttpVendorFixture, Need, TestPerson


class MailchimpFixture(HttpVendorFixture):
    name = "mailchimp"
    options: ClassVar[Mapping[str, Any]] = {"api_key": "conformancekey-us1"}
    lacks: ClassVar[Mapping[Need, str]] = {
        Need.RELATED: "notes, tags and events are inside the member and go with it",
        Need.PAGES: "members are looked up by hash; pages of audiences are in Mailchimp's own tests",
        Need.JOBS: "few members are erased by direct calls; the jobs have a class of their own",
    }
    batch_threshold = 20

    def system(self, base_url: str) -> dict[str, Any]:
        return {
            "name": "mailchimp",
            "connector": "mailchimp",
            "base_url": f"{base_url}/3.0",
            "credentials": dict(self.options),
            "policy": {"batch_threshold": self.batch_threshold, "control_email": "control@acme.example"},
            "delays": {"confirm_after": 0, "poll_every": 0.02},
        }

    def account(self) -> Any:
        control = {"email_address": "control@acme.example", "status": "subscribed"}
        others = [{"id": "a2", "name": "Shop"}, {"id": "a3", "name": "Events"}]
        return {"lists": [{"id": "a1", "name": "News", "members": [control]}, *others]}

    def people(self, people: Sequence[TestPerson]) -> Any:
        statuses = {"a1": "subscribed", "a2": "archived", "a3": "pending"}
        return {"lists": [_members(audience, people, status) for audience, status in statuses.items()]}

    def traces(self, person: TestPerson) -> frozenset[str]:
        email = person.identifier.value
        return frozenset({email, hashlib.md5(email.lower().encode()).hexdigest()})

    def is_contacted(self, row: Mapping[str, Any]) -> bool:
        return row["object"] == "member" and row["status"] in ("subscribed", "pending")

    def error_body(self, status: int) -> Any:
        return {"type": "about:blank", "title": "Refused", "status": status, "detail": "no", "instance": "1"}


class MailchimpJobsFixture(MailchimpFixture):
    """The same with every erasure in a job."""

    batch_threshold = 0
    lacks: ClassVar[Mapping[Need, str]] = {k: v for k, v in MailchimpFixture.lacks.items() if k is not Need.JOBS}

    def slow_options(self) -> dict[str, Any]:
        return {"job_seconds": 0.2}


def _members(list_id: str, people: Sequence[TestPerson], status: str) -> dict[str, Any]:
    members = [
        {
            "email_address": person.identifier.value,
            "status": status,
            "full_name": person.name,
            "merge_fields": {"FNAME": person.name},
            "notes": [f"{person.name} called"],
        }
        for person in people
    ]
    return {"id": list_id, "members": members}


class TestMailchimp(ConformanceSuite):
    vendor = MailchimpFixture()


class TestMailchimpJobs(ConformanceSuite):
    vendor = MailchimpJobsFixture()
