"""A system of a company that tells its changes as a script says, for tests of what the engine makes of pages.

It speaks through the connector of the support account, whose other operations stay what they are: who is found again is
searched, planned and erased there in earnest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from connectors.base.errors import ConnectorError
from connectors.base.sandbox.sample_world import SamplePerson
from connectors.base.values import Changes, Identifier, Record, Seen
from service.domain.api_key import Caller, Scope
from service.use_cases.approve_plan import approve_plan
from service.use_cases.lease_sync import LeasedSync, lease_sync, open_syncs
from tests.company import Company
from workers import sync_suppression

SYSTEM = "support"


@dataclass
class ChangingSystem:
    """Records in the order of their changes, told `rows` a page; a cursor is how many were told."""

    company: Company
    seen: list[Seen] = field(default_factory=list)
    rows: int = 3
    refuses: ConnectorError | None = None
    asked: list[str | None] = field(default_factory=list)

    def changed_since(self, connector: object, cursor: str | None, begin_at: datetime) -> Changes:
        """What `operations.changed_since` answers instead."""
        self.asked.append(cursor)
        if self.refuses is not None:
            raise self.refuses
        start = int(cursor or 0)
        page = tuple(self.seen[start : start + self.rows])
        return Changes(page, str(start + len(page)), more=start + self.rows < len(self.seen))

    def shows(self, *identifiers: Identifier, record: str | None = None) -> Seen:
        """A record was created, or changed where it was seen before."""
        at = datetime.now(UTC) + timedelta(milliseconds=len(self.seen))
        self.seen.append(Seen(Record("users", record or uuid4().hex), identifiers, at))
        return self.seen[-1]

    def sync(self, *, anew: bool = False) -> int:
        """One sync, as a nudged worker does it; `anew`: all pages once more. Returns how many requests were opened."""
        self.run("UPDATE suppression_syncs SET due_at = clock_timestamp(), lease_until = NULL")
        if anew:
            self.run("UPDATE suppression_syncs SET cursor = NULL")
        return sync_suppression.sync_system(self.company.runtime, SYSTEM, admission=None, stay_seconds=60.0)

    def leased(self) -> LeasedSync:
        """The sync's lease, for tests that record pages themselves."""
        self.run("UPDATE suppression_syncs SET due_at = clock_timestamp(), lease_until = NULL")
        leased = lease_sync(self.company.stores, SYSTEM)
        assert leased is not None
        return leased

    @property
    def row(self) -> Any:
        """The sync."""
        return self.company.rows("SELECT * FROM suppression_syncs")[0]

    def waits(self) -> list[Any]:
        """Pages that wait for a request's end."""
        return self.company.rows("SELECT * FROM suppression_waits ORDER BY cursor, request_id")

    def opened(self) -> list[Any]:
        """Requests of people who re-appeared."""
        return self.company.rows("SELECT * FROM requests WHERE reappearance_of IS NOT NULL ORDER BY created_at, id")

    def kinds_of(self, request: UUID) -> list[str]:
        """The kinds of what such a request was opened with."""
        rows = self.company.rows("SELECT kind FROM identifiers WHERE request_id = :r ORDER BY kind", r=request)
        return [row.kind for row in rows]

    def erase(self, person: SamplePerson) -> UUID:
        """Erase somebody, to the end."""
        request = self.company.submit(person)
        self.company.drive()
        assert self.company.request(request).state == "fulfilled"
        return request

    def approve(self, request: UUID) -> None:
        """A second person lets the newest plan begin."""
        plan = self.company.rows("SELECT hash FROM plans WHERE request_id = :r ORDER BY version DESC", r=request)[0]
        caller = Caller(uuid4(), frozenset({Scope.REQUESTS_APPROVE}))
        approve_plan(self.company.stores, self.company.settings, request, plan_hash=plan.hash, caller=caller)

    def run(self, statement: str, **values: Any) -> None:
        """Any change of the main store."""
        with self.company.stores.engine.begin() as connection:
            connection.execute(text(statement), values)


def emails_of(person: SamplePerson) -> Iterable[Identifier]:
    """A person's addresses as identifiers."""
    return [Identifier("email", address) for address in person.emails]


def install(company: Company, monkeypatch: pytest.MonkeyPatch) -> ChangingSystem:
    """Let the support account tell changes by script."""
    changing = ChangingSystem(company)
    monkeypatch.setattr(sync_suppression.operations, "changed_since", changing.changed_since)
    with company.stores.engine.begin() as connection:
        open_syncs(connection, [SYSTEM])
    return changing
