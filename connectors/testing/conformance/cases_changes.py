"""Cases about created and changed records, for connectors that declare `reports_changes`.

The engine decides how changes are used and that a page counts once; its tests prove that. Each vendor decides how far
the last page steps back, so that belongs into the connector's tests.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import operations
from connectors.base.errors import CredentialsRefused
from connectors.base.interface import Connector
from connectors.base.values import ChangePage
from connectors.testing.conformance.case import Case
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import TestPerson
from connectors.testing.conformance.vendor_fixture import Need
from connectors.testing.sandbox.faults import Fault, FaultKind

_MOST_PAGES = 200


class ChangesCases:
    """Mixed into ConformanceSuite."""

    def test_changes_tell_everybody_who_is_there(self, case: Case) -> None:
        """Every record of a person, over all pages, with the identifier that stands in it and when it changed."""
        begin_at = _beginning()
        people = [case.person(f"person-{n}", related=1) for n in range(7)]
        connector = _telling(case)
        case.seed(*people)
        pages = _read(connector, begin_at)
        for person in people:
            assert _tells(pages, person), f"nothing was told of {person.ref}"
        for seen in (seen for page in pages for seen in page.records):
            assert seen.changed_at.tzinfo is not None
            assert seen.changed_at >= begin_at - timedelta(days=1), "something older than asked for was told"

    def test_changes_go_on_where_they_ended(self, case: Case) -> None:
        """People who come later are listed from the last page's cursor on, by a fresh process too."""
        begin_at = _beginning()
        connector = _telling(case)
        case.seed(case.person("early", related=0))
        *_, last = _read(connector, begin_at)
        for label in ("late", "later"):
            person = case.person(label, related=0)
            case.seed(person)
            pages = _read(case.connect(), begin_at, last.cursor)
            assert _tells(pages, person), f"nothing was told of {label}, who came after the last page"
            last = pages[-1]

    def test_changes_tell_nobody_who_is_gone(self, case: Case) -> None:
        """A record that was erased isn't there again."""
        begin_at = _beginning()
        connector = _telling(case)
        ada = case.seed_with_neighbours()
        batch, lease = case.frozen(connector, ada), SuiteLease()
        case.finish(connector, batch, lease)
        assert not _tells(_read(connector, begin_at), ada), "somebody was told who was erased"

    def test_changes_are_only_looked_at(self, case: Case) -> None:
        """No record is another one afterwards."""
        connector = _telling(case)
        case.seed_with_neighbours()
        before = case.rows()
        _read(connector, _beginning())
        assert case.rows() == before, "a look at changes changed something"

    def test_a_cursor_holds_nothing_of_a_person(self, case: Case) -> None:
        """It is stored as it is: no identifier, no name, no record id."""
        begin_at = _beginning()
        connector = _telling(case)
        people = [case.person(f"person-{n}", related=0) for n in range(5)]
        case.seed(*people)
        for page in _read(connector, begin_at):
            held = {person.identifier.value for person in people} | {c for p in people for c in p.canaries}
            # An id of one to three digits, such as an administrator's, stands in any instant by chance.
            held |= {seen.record.id for seen in page.records if len(seen.record.id) > 3}
            assert not any(value in page.cursor for value in held), "a cursor names somebody"
            assert re.fullmatch(r"[\x20-\x7e]{1,200}", page.cursor), "a cursor is no short plain text"
            case.results.append(page)

    def test_a_credential_without_visibility_reports_no_changes(self, case: Case) -> None:
        """200 and empty, from any call on: refused, or else it would look as if nothing ever changed again."""
        case.needs(Need.HTTP, Need.BLIND)
        begin_at = _beginning()
        connector = _telling(case)
        case.seed_with_neighbours()
        _read(connector, begin_at)
        case.sandbox.journal.clear()
        _read(connector, begin_at)
        for k in range(len(case.sandbox.journal)):
            case.breaks(Fault(FaultKind.BLIND, times=None, skip=k))
            with pytest.raises(CredentialsRefused):
                _read(connector, begin_at)
        case.heal()


def _telling(case: Case) -> Connector:
    if not case.vendor.connector().declaration.reports_changes:
        pytest.skip(f"{case.vendor.name} declares no changes")
    return case.connect()


def _beginning() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=1)


def _read(connector: Connector, begin_at: datetime, cursor: str | None = None) -> list[ChangePage]:
    """All pages from there to the last one."""
    pages: list[ChangePage] = []
    while not pages or pages[-1].more:
        assert len(pages) < _MOST_PAGES, "the pages never end"
        pages.append(operations.changed_since(connector, pages[-1].cursor if pages else cursor, begin_at))
    return pages


def _tells(pages: list[ChangePage], person: TestPerson) -> bool:
    wanted = person.identifier
    told = (identifier for page in pages for seen in page.records for identifier in seen.identifiers)
    return any(i.kind == wanted.kind and i.value.casefold() == wanted.value.casefold() for i in told)
