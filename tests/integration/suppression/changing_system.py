"""A service with one system that tells its changes as a script says: what the engine makes of pages, and nothing else.

Nobody is erased here in earnest: who is on the list was put there as freezing a plan does it, and their request has
ended. The whole way is gone elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from connectors.base.errors import ConnectorError
from connectors.base.values import ChangedRecord, ChangePage, Identifier, Record
from service.execution.worker_context import WorkerContext
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.settings import Settings
from service.store.stores import Stores
from service.suppression.scan_schedule import LeasedSync, lease_sync
from workers import scan_changes as sync_suppression

SYSTEM = "support"


def email(name: str) -> Identifier:
    """Somebody's address."""
    return Identifier("email", f"{name}@example.test")


@dataclass
class ChangingSystem:
    """Records in the order of their changes, told `rows` a page; a cursor is how many were told."""

    settings: Settings
    stores: Stores
    runtime: WorkerContext
    seen: list[ChangedRecord] = field(default_factory=list)
    rows: int = 3
    refuses: ConnectorError | None = None
    asked: list[str | None] = field(default_factory=list)

    def changed_since(self, connector: object, cursor: str | None, begin_at: datetime) -> ChangePage:
        """What `operations.changed_since` answers instead."""
        self.asked.append(cursor)
        if self.refuses is not None:
            raise self.refuses
        start = int(cursor or 0)
        page = tuple(self.seen[start : start + self.rows])
        return ChangePage(page, str(start + len(page)), more=start + self.rows < len(self.seen))

    def shows(self, *identifiers: Identifier, record: str | None = None) -> ChangedRecord:
        """A record was created, or changed where it was seen before."""
        at = datetime.now(UTC) + timedelta(milliseconds=len(self.seen))
        self.seen.append(ChangedRecord(Record("users", record or uuid4().hex), identifiers, at))
        return self.seen[-1]

    def sync(self, *, anew: bool = False) -> int:
        """One sync, as a nudged worker does it; `anew`: all pages once more. Returns how many requests were opened."""
        self.write("UPDATE suppression_syncs SET due_at = clock_timestamp(), lease_until = NULL")
        if anew:
            self.write("UPDATE suppression_syncs SET cursor = NULL")
        return sync_suppression.sync_system(self.runtime, SYSTEM, admission=None, stay_seconds=60.0)

    def leased(self) -> LeasedSync:
        """The sync's lease, for tests that record pages themselves."""
        self.write("UPDATE suppression_syncs SET due_at = clock_timestamp(), lease_until = NULL")
        leased = lease_sync(self.stores, SYSTEM)
        assert leased is not None
        return leased

    def policy(self, reappearance: str) -> None:
        """Another policy from now on."""
        changed = self.settings.suppression.model_copy(update={"reappearance": reappearance})
        self.settings = self.runtime.settings = replace(self.settings, suppression=changed)

    @property
    def row(self) -> Any:
        """The sync."""
        return self.read("SELECT * FROM suppression_syncs")[0]

    def waits(self) -> list[tuple[UUID, str]]:
        """Whose end is waited for, and the page to be read then."""
        rows = self.read("SELECT request_id, cursor FROM suppression_waits ORDER BY cursor, request_id")
        return [(row.request_id, row.cursor) for row in rows]

    def opened(self) -> list[Any]:
        """Requests of people who re-appeared."""
        return self.read("SELECT * FROM requests WHERE reappearance_of IS NOT NULL ORDER BY created_at, id")

    def kinds_of(self, request: UUID) -> list[str]:
        """The kinds of what such a request was opened with."""
        return [
            r.kind for r in self.read("SELECT kind FROM identifiers WHERE request_id = :r ORDER BY kind", r=request)
        ]

    def submit(self, *identifiers: Identifier, regime: str = "gdpr") -> UUID:
        """A person's own request, verified."""
        now = datetime.now(UTC)
        given = tuple(SubmittedIdentifier(i, "email_link", now) for i in identifiers)
        submission = Submission("erasure", regime, given, now, None, uuid4())
        return UUID(submit_request(self.stores, self.settings, submission).id)

    def freeze(self, request: UUID) -> None:
        """As freezing a plan does: all of the request's identifiers are planned, and on the list."""
        self.write("UPDATE identifiers SET use = 'planned' WHERE request_id = :r", r=request)
        self.write(
            "INSERT INTO suppression_entries (keyed_hash, request_id, scope, kind, added_at)"
            " SELECT keyed_hash, request_id, 'erased', kind, clock_timestamp() FROM identifiers WHERE request_id = :r",
            r=request,
        )

    def end(self, request: UUID) -> None:
        """As when every step of it has ended."""
        self.write("UPDATE requests SET state = 'fulfilled', next_action = NULL WHERE id = :r", r=request)

    def erased(self, *identifiers: Identifier, **more: Any) -> UUID:
        """The request of somebody who was erased, and is on the list."""
        request = self.submit(*identifiers, **more)
        self.freeze(request)
        self.end(request)
        return request

    def step(self, request: UUID, state: str, *records: ChangedRecord) -> None:
        """The request's step here, in this state, with these records in its plan."""
        self.write("DELETE FROM steps WHERE request_id = :r", r=request)
        self.write(
            "INSERT INTO steps (id, request_id, system, position, phase, state, respond_by, record_hashes)"
            " VALUES (gen_random_uuid(), :r, :s, 50, 'confirm', :state, now(), :hashes)",
            r=request,
            s=SYSTEM,
            state=state,
            hashes=[self.stores.pepper.of_record(SYSTEM, seen.record) for seen in records],
        )

    def entries(self) -> list[str]:
        """The audit log's entries as text."""
        rows = self.read("SELECT convert_from(entry, 'UTF8') AS entry FROM audit_pending ORDER BY id")
        return [row.entry for row in rows]

    def keys(self) -> int:
        """How many data keys there are."""
        return len(self.stores.keys.owners_older_than(0, 1000))

    def read(self, statement: str, **values: Any) -> list[Any]:
        """Any reading of the main store."""
        with self.stores.engine.begin() as connection:
            return list(connection.execute(text(statement), values))

    def write(self, statement: str, **values: Any) -> None:
        """Any change of the main store."""
        with self.stores.engine.begin() as connection:
            connection.execute(text(statement), values)
