"""A whole company for the engine's tests: real databases, a DuckDB warehouse, vendors' stand-ins over HTTP."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from connectors.base.registry import sandboxes
from connectors.base.values import Identifier
from connectors.testing.sandbox import Sandbox, SandboxServer
from connectors.testing.sandbox.sample_world import SamplePerson, SampleWorld
from service.cli.demo.org import org_seed
from service.cli.demo.world import (
    MAILING,
    MAILING_CREDENTIALS,
    ORG,
    ORG_CREDENTIALS,
    SUPPORT_ACCOUNTS,
    SUPPORT_CREDENTIALS,
    DemoWorld,
    mailing_seed,
    support_seed,
    write_config,
)
from service.execution.systems.sync_config import sync_systems
from service.execution.worker_context import WorkerContext
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.settings import Settings, load_settings
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.audit_replay import differences
from tests.drive import drive


@dataclass
class Company:
    """Everything a test needs to act on the company and to look at it."""

    world: SampleWorld
    settings: Settings
    stores: Stores
    runtime: WorkerContext
    sandboxes: dict[str, Sandbox]
    warehouse: Path

    def submit(self, person: SamplePerson, *identifiers: Identifier, verified: bool = True, **more: Any) -> UUID:
        """Submit an erasure of a person, by their first email unless told otherwise."""
        given = identifiers or (Identifier("email", person.emails[0]),)
        at = datetime.now(UTC)
        submission = Submission(
            kind=more.pop("kind", "erasure"),
            regime=more.pop("regime", "gdpr"),
            identifiers=tuple(
                SubmittedIdentifier(i, "email_link" if verified else None, at if verified else None) for i in given
            ),
            received_at=more.pop("received_at", at),
            external_reference=more.pop("external_reference", None),
            submitted_by=more.pop("submitted_by", uuid4()),
            idempotency_key=more.pop("idempotency_key", None),
        )
        return UUID(submit_request(self.stores, self.settings, submission).id)

    def drive(self, **options: Any) -> None:
        """Let the engine work in this process until nothing is due soon."""
        drive(self.runtime, **options)

    def request(self, request_id: UUID) -> Any:
        """The request's row."""
        return self.rows("SELECT * FROM requests WHERE id = :id", id=request_id)[0]

    def steps(self, request_id: UUID) -> dict[str, Any]:
        """The request's steps by system."""
        return {r.system: r for r in self.rows("SELECT * FROM steps WHERE request_id = :id", id=request_id)}

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Any reading of the main store."""
        with self.stores.engine.begin() as connection:
            return list(connection.execute(text(statement), values))

    def deadlocks(self) -> int:
        """How many transactions the database had to break off because they waited in a circle."""
        found = self.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(found[0].deadlocks)

    def residue(self, person: SamplePerson) -> list[dict[str, Any]]:
        """What the stand-ins still hold of a person."""
        return [row for s in self.sandboxes.values() for row in s.residue(set(person.residue_values))]


# Every person has rows in `events`, and half of them in `newsletter`. DuckDB takes milliseconds for each statement, and
# the connector sends several per table and call: with all six tables it used half of an engine test's time.
FEW_TABLES = ("events", "newsletter")


class _World(SampleWorld):
    """The sample company, whose warehouse system covers some of the tables."""

    def __init__(self, people: int, tables: Collection[str] | None) -> None:
        super().__init__(seed=7, people=people)
        self._tables = tables

    def warehouse_config(self) -> dict[str, Any]:
        policy = super().warehouse_config()
        wanted = [table for table in policy["tables"] if self._tables is None or table["name"] in self._tables]
        return policy | {"tables": wanted}


@functools.cache
def _sample(people: int, tables: tuple[str, ...] | None) -> tuple[SampleWorld, bytes]:
    """The same people each time, who don't change, and the file of their warehouse: making it takes longer than most
    tests have other work."""
    world = _World(people, tables)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "warehouse.duckdb")
        world.load_warehouse(file)
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        return world, file.read_bytes()


@pytest.fixture
def company(
    tmp_path: Path, database_url: str, key_database_url: str, request: pytest.FixtureRequest
) -> Iterator[Company]:
    """Sixty people (or as many as asked for) in a warehouse, two support accounts and a mailing account.

    `org` adds a Salesforce org, which few tests need: its stand-in takes longer than the others together. `tables` are
    those of the warehouse's system, None for all, as beside an org: a test of the engine needs rows, not six tables.
    """
    asked = getattr(request, "param", {})
    has_org = bool(asked.get("org", False))
    world, warehouse = _sample(asked.get("people", 60), asked.get("tables", None if has_org else FEW_TABLES))
    demo = DemoWorld(world, tmp_path)
    demo.warehouse.write_bytes(warehouse)
    kinds = sandboxes()
    quick = {"job_seconds": 0.05, "confirm_after": 0.1}
    stand_ins: dict[str, Sandbox] = {
        name: kinds["zendesk"](SUPPORT_CREDENTIALS | quick | {"purge_after": 0.1}) for name in SUPPORT_ACCOUNTS
    }
    stand_ins[MAILING] = kinds["mailchimp"](MAILING_CREDENTIALS | quick)
    for name in SUPPORT_ACCOUNTS:
        stand_ins[name].seed(support_seed(world, name))
    stand_ins[MAILING].seed(mailing_seed(world))
    if has_org:
        stand_ins[ORG] = kinds["salesforce"](ORG_CREDENTIALS | {"confirm_after": 0.1})
        stand_ins[ORG].seed(org_seed(world))
    with SandboxServer(stand_ins) as server:
        accounts = asked.get("accounts", SUPPORT_ACCOUNTS)
        write_config(demo, server.port, data_directory=tmp_path / "data", api_port=0, accounts=accounts, org=has_org)
        settings = load_settings(demo.config)
        stores = Stores.open(database_url, key_database_url, load_secrets(settings))
        assert isinstance(stores.pepper, Pepper)
        sync_systems(stores, settings)
        runtime = WorkerContext(settings, stores)
        yield Company(world, settings, stores, runtime, stand_ins, demo.warehouse)
        runtime.close()


@pytest.fixture
def replayed(company: Company) -> Iterator[None]:
    """After a test of the engine the audit log is replayed: it must give the rows (I7)."""
    yield
    assert differences(company.stores.engine) == []
