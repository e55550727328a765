"""An office: a service with systems of which some aren't searched. After each test its log is replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from connectors.base import registry
from service.audit.rebuild import replay_audit
from service.execution.resolve_identities import walk
from service.execution.systems.sync_config import sync_systems
from service.execution.worker_context import WorkerContext
from service.requests.identity.resolve import lease_identities
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.settings import Settings, parse_settings
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.audit_replay import differences
from tests.drive import drive
from tests.integration.execution.systems.told_vendor import CONNECTORS, VENDORS, Vendor, email


@dataclass
class Office:
    """The service and its vendors, by system."""

    settings: Settings
    stores: Stores
    runtime: WorkerContext
    vendors: Mapping[str, Vendor]

    def submit(
        self, *names: str, known_in: tuple[str, ...] | None = None, scopes: tuple[str, ...] = (), regime: str = "gdpr"
    ) -> UUID:
        """Submit an erasure of one person with these verified addresses; the vendors know the first.

        With `scopes`: an opt-out, whose addresses aren't verified.
        """
        for system in self.settings.systems if known_in is None else ():
            self.vendors[system.config.name].people[email(names[0]).value] = 1
        for name in known_in or ():
            self.vendors[name].people[email(names[0]).value] = 1
        at = datetime.now(UTC)
        proof = (None, None) if scopes else ("email_link", at)
        given = tuple(SubmittedIdentifier(email(name), *proof) for name in names)
        kind = "suppression" if scopes else "erasure"
        submission = Submission(kind, regime, given, at, None, uuid4(), None, scopes)
        return UUID(submit_request(self.stores, self.settings, submission).id)

    def settle(self) -> None:
        """The settling pass, and nothing after it."""
        walk(self.runtime, lease_identities(self.stores, self.settings, limit=100))

    def drive(self) -> None:
        """Until nothing is due."""
        drive(self.runtime, patience_seconds=0.5)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Any reading or writing of the main store."""
        with self.stores.engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return list(done) if done.returns_rows else []

    def request(self, request_id: UUID) -> Any:
        """The request's row."""
        return self.rows("SELECT * FROM requests WHERE id = :id", id=request_id)[0]

    def places(self, request_id: UUID) -> dict[str, tuple[str, str, str | None]]:
        """Phase, state and reason of each step."""
        rows = self.rows("SELECT system, phase, state, reason FROM steps WHERE request_id = :id", id=request_id)
        return {row.system: (row.phase, row.state, row.reason) for row in rows}

    def events(self, request_id: UUID) -> list[str]:
        """What the log says of the request itself, oldest first."""
        return [
            row.event
            for row in self.rows(
                "SELECT e->>'event' AS event FROM (SELECT id, convert_from(entry, 'UTF8')::jsonb AS e"
                " FROM audit_pending) AS p WHERE e->>'object_id' = :id ORDER BY id",
                id=str(request_id),
            )
        ]

    def use(self, systems: Mapping[str, str], **approval: Any) -> None:
        """The service starts anew with these systems."""
        self.settings = self.runtime.settings = _settings(self.settings.service.data_directory, systems, approval)
        sync_systems(self.stores, self.settings)


def _settings(directory: Path, systems: Mapping[str, str], approval: Mapping[str, Any]) -> Settings:
    return parse_settings(
        {
            "service": {"data_directory": str(directory)},
            "approval": dict(approval),
            "systems": [
                {"name": name, "connector": kind, "base_url": "memory://vendor"} for name, kind in systems.items()
            ],
        }
    )


OpenOffice = Callable[..., Office]


@pytest.fixture
def open_office(
    tmp_path: Path, database_url: str, key_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenOffice]:
    """Opens one with systems by name and kind, and rules of approval."""
    monkeypatch.setattr(registry, "connectors", lambda: CONNECTORS)
    VENDORS.clear()
    opened: list[Office] = []

    def office(systems: Mapping[str, str], **approval: Any) -> Office:
        settings = _settings(tmp_path, systems, approval)
        stores = Stores.open(database_url, key_database_url, load_secrets(settings))
        sync_systems(stores, settings)
        opened.append(Office(settings, stores, WorkerContext(settings, stores), VENDORS))
        return opened[-1]

    yield office
    for one in opened:
        assert differences(one.stores.engine) == []
        assert replay_audit(one.stores.engine).differences == ()
        one.runtime.close()
