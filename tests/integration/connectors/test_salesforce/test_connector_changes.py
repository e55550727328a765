"""What the org says was created or changed: every kind of person, page by page, late commits included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood
from connectors.base.values import ChangedRecord, ChangePage
from connectors.salesforce import changes
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.salesforce.sandbox.wire import instant
from connectors.testing.sandbox.server import SandboxServer

from .connecting import CREDENTIALS

BEGIN = datetime.now(UTC) - timedelta(hours=3)


class Changing:
    """An org over HTTP, whose records' instants a test chooses."""

    def __init__(self, org: SalesforceSandbox, url: str) -> None:
        self.org = org
        self._url = url

    def connect(self, **policy: Any) -> SalesforceConnector:
        entry = {"name": "crm", "connector": "salesforce", "base_url": self._url, "policy": policy}
        entry |= {"allow_private_hosts": ["127.0.0.1"]}
        return SalesforceConnector(SalesforceConnector.parse_system(entry | {"credentials": CREDENTIALS}))

    def put(self, kind: str, *, minutes_ago: float = 0, deleted: bool = False, **fields: Any) -> str:
        ref = f"r{len(self.org.state['refs'])}"
        self.org.seed({"records": [{"object": kind, "ref": ref, "fields": fields, "deleted": deleted}]})
        row = self.org.store.row(self.org.id_of(ref))
        assert row is not None
        row["SystemModstamp"] = instant(datetime.now(UTC) - timedelta(minutes=minutes_ago))
        return str(row["Id"])


@contextmanager
def changing() -> Iterator[Changing]:
    org = SalesforceSandbox(CREDENTIALS)
    with SandboxServer({"": org}) as server:
        yield Changing(org, f"http://127.0.0.1:{server.port}")


def read(connector: SalesforceConnector, cursor: str | None = None) -> list[ChangePage]:
    pages: list[ChangePage] = []
    while not pages or pages[-1].more:
        assert len(pages) < 100
        pages.append(operations.changed_since(connector, pages[-1].cursor if pages else cursor, BEGIN))
    return pages


def told(pages: list[ChangePage]) -> list[ChangedRecord]:
    return [seen for page in pages for seen in page.records]


def values(seen: ChangedRecord, kind: str) -> set[str]:
    return {i.value for i in seen.identifiers if i.kind == kind}


def test_every_kind_of_person_is_told_and_no_company() -> None:
    with changing() as org:
        contact = org.put("Contact", LastName="A", Email="ada@example.test", Phone="0161 496 0000")
        lead = org.put("Lead", LastName="A", Company="-", Status="New", Email="ada.l@example.test")
        person = org.put("Account", IsPersonAccount=True, LastName="A", PersonEmail="ada.p@example.test")
        user = org.put("User", Username="ada.u@example.test", Email="ada.u@example.test", LastName="A", Alias="a")
        individual = org.put("Individual", LastName="A")
        org.put("Account", Name="A company")
        org.put("Contact", LastName="A", Email="ada.bin@example.test", deleted=True)
        connector = org.connect(home_region="GB", fields={"Contact.LastName": "nickname"})
        pages = read(connector)
        before = connector.calls
        read(connector)
        assert connector.calls - before == 2
        seen = told(pages)
        assert {s.record.id for s in seen} == {contact, lead, person, user, individual}
        (one,) = [s for s in seen if s.record.id == contact]
        assert values(one, "email") == {"ada@example.test"}
        assert values(one, "phone") == {"+441614960000"}
        assert values(one, "nickname") == {"A"}
        assert values(one, "salesforce_contact_id") == {contact, contact[:15]}
        # Both halves of a person account stand for the account.
        halves = [s for s in seen if s.record.id == person]
        assert {s.record.object for s in halves} == {"Account"}
        assert len(halves) == 2
        assert set.union(*(values(s, "email") for s in halves)) == {"ada.p@example.test"}


def test_an_extension_stays_part_of_a_phone_number() -> None:
    with changing() as org:
        org.put("Contact", LastName="A", Phone="0161 496 0000 ext. 12", MobilePhone="no number")
        (seen,) = told(read(org.connect(home_region="GB")))
        assert values(seen, "phone") == {"0161 496 0000 ext. 12", "no number"}


@pytest.mark.parametrize("apart_minutes", [0.0, 0.5], ids=["at one instant", "apart"])
def test_no_page_ends_within_an_instant(apart_minutes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where more records have one instant than a page holds."""
    monkeypatch.setattr(changes, "ROWS_PER_OBJECT", 3)
    with changing() as org:
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=60)
        wanted = []
        for n in range(17):
            company = {} if n % 3 else {"Company": "-"}
            wanted.append(
                org.put("Lead" if company else "Contact", LastName="A", Email=f"a{n}@example.test", **company)
            )
            row = org.org.store.row(wanted[-1])
            assert row is not None
            row["SystemModstamp"] = instant(at + timedelta(minutes=n // 4 * apart_minutes))
        pages = read(org.connect())
        assert len(pages) > 1
        assert sorted(s.record.id for s in told(pages)) == sorted(wanted)


@pytest.mark.parametrize("overlap", [30.0, 0.0])
def test_what_is_committed_late_is_told_by_a_later_page(overlap: float) -> None:
    """Its transaction began before those that were told already. Without the overlap it would be missed."""
    with changing() as org:
        org.put("Contact", LastName="A", Email="early@example.test")
        connector = org.connect(overlap_minutes=overlap)
        *_, last = read(connector)
        late = org.put("Contact", LastName="A", Email="late@example.test", minutes_ago=9)
        assert (late in {s.record.id for s in told(read(connector, last.cursor))}) is (overlap > 0)


def test_an_idle_org_is_not_read_again_and_again() -> None:
    with changing() as org:
        org.put("Contact", LastName="A", Email="early@example.test", minutes_ago=45)
        connector = org.connect()
        *_, last = read(connector)
        assert len(last.records) == 1
        assert told(read(connector, last.cursor)) == []


def test_without_the_orgs_clock_the_newest_record_is_the_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.salesforce.org.session.parse_http_date", lambda date: None)
    with changing() as org:
        org.put("Contact", LastName="A", Email="early@example.test", minutes_ago=45)
        connector = org.connect()
        *_, last = read(connector)
        assert len(told(read(connector, last.cursor))) == 1
        assert len(told(read(connector, read(connector, last.cursor)[-1].cursor))) == 1


@pytest.mark.parametrize("cursor", ["", "12", "2026-11-22T10:00:00", "yesterday"])
def test_a_cursor_of_another_form_is_not_guessed_at(cursor: str) -> None:
    with changing() as org, pytest.raises(AnswerNotUnderstood):
        org.connect().changed_since(cursor, BEGIN)
