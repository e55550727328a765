"""Rows of steps as the picker finds them, written straight into a database: thousands in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import Engine, text

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE
from service.execution.select import AgainPick, FreshPick, is_leasable, picks
from service.settings import Settings, parse_settings
from service.store.stores import Stores

SYSTEM = "support"


def settings_with(*, data_directory: str = "data", **engine: Any) -> Settings:
    """One support account, whose connector takes many people a call."""
    credentials = {"email": "privacy@example.test", "api_token": "token"}
    system = {"name": SYSTEM, "connector": "zendesk", "base_url": "https://x.example", "credentials": credentials}
    return parse_settings({"service": {"data_directory": data_directory}, "engine": engine, "systems": [system]})


@dataclass
class Desk:
    """A main store with one system, and what stands in its lines."""

    engine: Engine

    def open(self) -> Desk:
        """Connect the system."""
        self.write(
            "INSERT INTO systems (name, connector, state, fingerprint, position, max_concurrency)"
            " VALUES (:s, 'zendesk', 'active', 'f', 50, 2)",
            s=SYSTEM,
        )
        return self

    def write(self, statement: str, **values: Any) -> None:
        """Any statement."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Any reading."""
        with self.engine.begin() as connection:
            return list(connection.execute(text(statement), values))

    def add(
        self,
        people: int,
        *,
        phase: str = "locate",
        state: str = "due",
        fair_queue: UUID = DEFAULT_FAIR_QUEUE,
        days_left: float = 20,
        due_for: float = 60,
        batch: UUID | None = None,
    ) -> None:
        """So many people's steps, due since `due_for` seconds (negative: later), `days_left` before their deadline."""
        self.write(
            "WITH made AS (INSERT INTO requests (id, subject, kind, scopes, regime, state, received_at, respond_by,"
            " submitted_by) SELECT gen_random_uuid(), gen_random_uuid()::text, 'erasure', '{erased}', 'gdpr',"
            " 'in_progress', now(), date_trunc('day', now()) + make_interval(secs => :left), gen_random_uuid()"
            " FROM generate_series(1, :n) RETURNING id, respond_by)"
            " INSERT INTO steps (id, request_id, system, position, phase, state, due_at, respond_by, fair_queue,"
            " batch_id, ended_at) SELECT gen_random_uuid(), id, :s, 50, :phase, CAST(:state AS text),"
            " CASE WHEN :state IN ('due', 'accepted') THEN clock_timestamp() - make_interval(secs => :due)"
            " + random() * interval '1 ms' END,"
            " respond_by, :fair_queue, :batch, CASE WHEN :state = 'absent' THEN now() END FROM made",
            n=people,
            s=SYSTEM,
            phase=phase,
            state=state,
            fair_queue=fair_queue,
            left=days_left * 86400.0,
            due=due_for,
            batch=batch,
        )

    def batch(self, *, phase: str = "erase", lease: float | None = None, age: float = 0) -> UUID:
        """An open batch; `lease` seconds of its lease are left."""
        batch_id = uuid4()
        self.write(
            "INSERT INTO batches (id, system, phase, lease_until, created_at) VALUES (:id, :s, :p,"
            " clock_timestamp() + make_interval(secs => :lease), clock_timestamp() - make_interval(secs => :age))",
            id=batch_id,
            s=SYSTEM,
            p=phase,
            lease=lease,
            age=age,
        )
        return batch_id

    def picked(self, settings: Settings, **options: Any) -> list[FreshPick | AgainPick]:
        """What may be leased, best first."""
        with self.engine.begin() as connection:
            return list(picks(connection, settings, SYSTEM, **{"last_bulk": None, **options}))

    def first(self, settings: Settings, **options: Any) -> FreshPick:
        """The best, which is a new batch."""
        pick = self.picked(settings, **options)[0]
        assert isinstance(pick, FreshPick)
        return pick

    def fair_queues(self, pick: FreshPick) -> dict[UUID, int]:
        """How many of each queue were picked."""
        ids = list(pick.step_ids)
        rows = self.rows(
            "SELECT fair_queue, count(*) AS n FROM steps WHERE id = ANY(:ids) GROUP BY fair_queue", ids=ids
        )
        return {row.fair_queue: row.n for row in rows}

    def is_leasable(self, settings: Settings) -> bool:
        """What the dispatcher sees."""
        with self.engine.begin() as connection:
            return is_leasable(connection, settings, SYSTEM)

    @property
    def stores(self) -> Stores:
        """Stores for use cases that ask the main store only."""
        return cast("Stores", SimpleNamespace(engine=self.engine))
