"""Salesforce under the suite: a contact with cases, mails, tasks, files, consents and a custom child, by fifties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from connectors.base.interface import Connector
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.testing.conformance import ConformanceSuite, HttpVendorFixture, Need, TestPerson
from connectors.testing.sandbox import Sandbox

_CREDENTIALS = {"consumer_key": "conformance-key-1", "consumer_secret": "conformance-secret-1"}


class SalesforceFixture(HttpVendorFixture):
    name = "salesforce"
    lacks: ClassVar[Mapping[Need, str]] = {
        Need.JOBS: "below `bulk_from` nothing is done by jobs; see the fixture with jobs"
    }
    related_over_pages = 120
    options: ClassVar[Mapping[str, Any]] = {**_CREDENTIALS, "page_rows": 50}
    policy: ClassVar[Mapping[str, Any]] = {}

    def connector(self) -> type[Connector]:
        return SalesforceConnector

    def sandbox_class(self) -> type[Sandbox]:
        return SalesforceSandbox

    def system(self, base_url: str) -> dict[str, Any]:
        return {
            "name": "salesforce",
            "connector": "salesforce",
            "base_url": base_url,
            "credentials": dict(_CREDENTIALS),
            "policy": dict(self.policy),
            "delays": {"confirm_after": 0, "poll_every": 0.02, "purge_after": 0},
        }

    def account(self) -> Any:
        return {"records": [{"object": "Account", "ref": "acme", "fields": {"Name": "Acme"}}]}

    def is_contacted(self, row: Mapping[str, Any]) -> bool:
        return row["object"] == "Contact" and not row.get("HasOptedOutOfEmail")

    def error_body(self, status: int) -> Any:
        return [{"message": "refused", "errorCode": "INVALID_SESSION_ID" if status == 401 else "UNKNOWN_EXCEPTION"}]

    def people(self, people: Sequence[TestPerson]) -> Any:
        return {"records": [record for person in people for record in _records(person)]}


class JobFixture(SalesforceFixture):
    """Everything goes by bulk jobs, which take a moment."""

    lacks: ClassVar[Mapping[Need, str]] = {}
    options: ClassVar[Mapping[str, Any]] = {**SalesforceFixture.options, "permissions": {"bulk_hard_delete": True}}
    policy: ClassVar[Mapping[str, Any]] = {"bulk_from": 1}

    def slow_options(self) -> dict[str, Any]:
        return {"job_seconds": 0.4}  # longer than a pass waits for it, shorter than the suite has patience


def _records(person: TestPerson) -> list[dict[str, Any]]:
    me, name = f"@{person.ref}", person.name
    records = [
        _record("Contact", {"LastName": name, "Email": person.identifier.value, "AccountId": "@acme"}, person.ref)
    ]
    for n in range(person.related):
        ref = f"{person.ref}-{n}"
        match n % 5:
            case 0:
                records.append(_record("Case", {"ContactId": me, "Subject": name, "Status": "New"}, ref))
                mail = {"ParentId": f"@{ref}", "Subject": name, "FromAddress": person.identifier.value, "Status": "1"}
                records.append(_record("EmailMessage", mail))
            case 1:
                records.append(_record("Task", {"WhoId": me, "Subject": name, "Status": "Open"}))
            case 2:
                records.append(_record("ContentDocument", {"Title": name}, ref))
                link = {"ContentDocumentId": f"@{ref}", "LinkedEntityId": me}
                records.append(_record("ContentDocumentLink", link))
            case 3:
                records.append(_record("AuthorizationFormConsent", {"Name": name, "ConsentGiverId": me}))
            case _:
                records.append(_record("acme__Pledge__c", {"Name": name, "acme__Donor__c": me}))
    return records


def _record(object_name: str, fields: Mapping[str, Any], ref: str | None = None) -> dict[str, Any]:
    return {"object": object_name, "fields": dict(fields), **({"ref": ref} if ref else {})}


@pytest.mark.long
class TestSalesforce(ConformanceSuite):
    vendor = SalesforceFixture()


@pytest.mark.long
class TestSalesforceByJobs(ConformanceSuite):
    vendor = JobFixture()
