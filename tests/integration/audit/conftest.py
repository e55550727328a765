"""A log of its own for every test: the audit tables, their fence, a key, and a writer of entries in their order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from service.domain.audit.entry import AuditEntry
from service.domain.audit.signed_note import SigningKey
from service.store.audit_log import log as audit_log
from service.store.audit_log.signing_key import load_signing_key
from service.store.engine import open_engine
from service.store.tables import anchors, audit
from service.store.tables.base import Base

AT = datetime(2026, 11, 22, 11, 30, tzinfo=UTC)
TABLES = [
    Base.metadata.tables[table.__tablename__]
    for table in (
        audit.AuditPending,
        audit.AuditLeaf,
        audit.AuditNode,
        audit.AuditHead,
        audit.AuditCheckpoint,
        audit.AuditFinding,
        anchors.AnchoredHeadRow,
        anchors.AnchorConflictRow,
        anchors.VendorAdmissionRow,
        anchors.PrunedLogRow,
    )
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def signing_key(tmp_path: Path) -> SigningKey:
    return load_signing_key(tmp_path / "keys", "expunge.example/log")


@dataclass
class Writer:
    """Stands for the rows that changed: keeps each object's counter and the digest of its newest entry."""

    engine: Engine
    subject: str = field(default_factory=lambda: uuid4().hex)
    newest: dict[UUID, tuple[int, str | None]] = field(default_factory=dict)

    def entry(self, object_id: UUID, reason: str = "waiting") -> AuditEntry:
        version, previous = self.newest.get(object_id, (0, None))
        made = AuditEntry(
            "request_in_progress",
            "request",
            str(object_id),
            version + 1,
            previous,
            AT,
            "worker",
            self.subject,
            {"reason": reason},
        )
        self.newest[object_id] = (version + 1, made.digest())
        return made

    def log(self, *object_ids: UUID, connection: Connection | None = None) -> list[AuditEntry]:
        """Logs one entry of each, in a transaction of its own unless one is given."""
        entries = [self.entry(object_id) for object_id in object_ids]
        if connection is not None:
            audit_log.append(connection, entries)
        else:
            with self.engine.begin() as own:
                audit_log.append(own, entries)
        return entries


@pytest.fixture
def writer(engine: Engine) -> Writer:
    return Writer(engine)


@pytest.fixture
def tamper(engine: Engine) -> Callable[..., None]:
    """Runs a statement, for each of several rows of values if given, as a database owner who took the fence down."""
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER USER"))

    def run(statement: str, rows: list[dict[str, Any]] | None = None, **values: object) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement), rows or values)

    return run
