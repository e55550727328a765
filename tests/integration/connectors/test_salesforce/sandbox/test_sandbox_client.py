"""A second opinion on the wire: simple-salesforce, written by others against the real API, speaks to the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from ..org_client import OrgClient, opened, row


class _Plain(HTTPAdapter):
    """The library writes https:// into every address; the stand-in speaks HTTP."""

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        assert request.url is not None
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, *args, **more)


@pytest.fixture
def org() -> Iterator[OrgClient]:
    with opened(permissions={"bulk_hard_delete": True}) as client:
        client.seed(
            *(row("Contact", f"c{n}", LastName=f"Person {n}") for n in range(2_100)),
            row("Case", "case", ContactId="@c0", Status="New"),
        )
        yield client


@pytest.fixture
def theirs(org: OrgClient) -> Iterator[Salesforce]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _Plain())
        token = org.http.headers["authorization"].removeprefix("Bearer ")
        host = org.url.removeprefix("http://")
        yield Salesforce(instance=host, session_id=token, version="66.0", session=session)


def test_queries_are_paged(org: OrgClient, theirs: Salesforce) -> None:
    assert theirs.query("SELECT Id FROM Contact")["done"] is False
    assert theirs.query_all("SELECT Id FROM Contact")["totalSize"] == 2_100
    assert len(theirs.query_all("SELECT Id FROM Contact", include_deleted=True)["records"]) == 2_100
    assert theirs.api_usage["api-usage"].used == org.sandbox.state["api_calls"]


def test_records_and_describes_come_and_go(org: OrgClient, theirs: Salesforce) -> None:
    made = theirs.Contact.create({"LastName": "New", "Email": "new@example.test"})
    assert made["success"] is True
    assert theirs.Contact.update(made["id"], {"Email": None}) == 204
    assert theirs.Contact.get(made["id"])["Email"] is None
    assert theirs.Contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        theirs.Contact.delete(made["id"])
    with pytest.raises(SalesforceMalformedRequest):
        theirs.Contact.delete(org.id("c0"))
    assert {f["name"] for f in theirs.Contact.describe()["fields"]} >= {"Id", "Email", "AccountId"}
    assert len(theirs.describe()["sobjects"]) > 50


def test_collections_and_composite_through_restful(org: OrgClient, theirs: Salesforce) -> None:
    params = {"ids": ",".join(org.id(f"c{n}") for n in range(200)), "allOrNone": "false"}
    rows = theirs.restful("composite/sobjects", params=params, method="DELETE")
    assert [r["success"] for r in rows] == [False] + [True] * 199


def test_bulk_hard_delete(org: OrgClient, theirs: Salesforce) -> None:
    records = [{"Id": org.id(f"c{n}")} for n in range(3)]
    (job,) = theirs.bulk2.Contact.hard_delete(records=records, wait=0)
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (3, 1)
    assert "DELETE_FAILED" in theirs.bulk2.Contact.get_failed_records(job["job_id"])


def test_an_ended_session_is_its_expired_session(org: OrgClient, theirs: Salesforce) -> None:
    org.sandbox.revoke_tokens()
    with pytest.raises(SalesforceExpiredSession):
        theirs.query("SELECT Id FROM Contact")
