"""The yardstick of the batch scenario: the smallest engine that leases, calls, and records with an audit row per pair.

It has no rate limits, no retries, no sealing, no fence and no certificates: raw psycopg, one process, two transactions
a batch. What the service costs above it is the price of its promises.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import uuid4

import httpx
import psycopg

from tests.benchmarks.fanout.vendor import CONTROL, MOST_PEOPLE_PER_CALL

_SCHEMA = """
DROP SCHEMA IF EXISTS minimal_engine CASCADE;
CREATE SCHEMA minimal_engine;
SET search_path TO minimal_engine;
CREATE TABLE steps (
    id uuid PRIMARY KEY, system text NOT NULL, email text NOT NULL, state text NOT NULL, batch_id uuid,
    ended_at timestamptz
);
CREATE INDEX ON steps (system, id) WHERE state = 'due';
CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, entry text NOT NULL);
"""
_LEASE = """
UPDATE steps SET state = 'leased', batch_id = %(batch)s
WHERE id IN (SELECT id FROM steps WHERE system = %(system)s AND state = 'due' LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id, email
"""
_RECORD = """
WITH ended AS (
    UPDATE steps SET state = n.state, ended_at = clock_timestamp()
    FROM unnest(%(ids)s::uuid[], %(states)s::text[]) AS n(id, state)
    WHERE steps.id = n.id AND batch_id = %(batch)s
    RETURNING steps.id, n.state
)
INSERT INTO audit (entry) SELECT json_build_object('step', id, 'state', state)::text FROM ended
"""


@dataclass(frozen=True)
class MinimalRound:
    """CPU of this process and seconds, for so many pairs. PostgreSQL's CPU is measured by the caller."""

    pairs: int
    cpu_seconds: float
    wall_seconds: float


def fill(url: str, systems: int, people: int) -> None:
    """A schema of its own in this database, with one due step for every data subject in every system."""
    with psycopg.connect(url) as connection:
        connection.execute(_SCHEMA)
        with connection.cursor().copy("COPY steps (id, system, email, state) FROM STDIN") as rows:
            for system in range(systems):
                for person in range(people):
                    rows.write_row((uuid4(), f"s{system}", f"p{person}@bench.example", "due"))
        connection.execute("ANALYZE steps")


def run(url: str, vendor_port: int, systems: int) -> MinimalRound:
    """Lease, call and record until no step is due."""
    cpu, wall, pairs = time.process_time(), time.perf_counter(), 0
    with (
        psycopg.connect(url, options="-c search_path=minimal_engine") as connection,
        httpx.Client(base_url=f"http://127.0.0.1:{vendor_port}") as client,
    ):
        for system in (f"s{n}" for n in range(systems)):
            while done := _batch(connection, client, system):
                pairs += done
    return MinimalRound(pairs, time.process_time() - cpu, time.perf_counter() - wall)


def _batch(connection: psycopg.Connection[tuple[object, ...]], client: httpx.Client, system: str) -> int:
    batch = uuid4()
    with connection.transaction():
        values = {"batch": batch, "system": system, "limit": MOST_PEOPLE_PER_CALL - 1}
        steps = connection.execute(_LEASE, values).fetchall()
    if not steps:
        return 0
    emails = [email for _, email in steps]
    client.post(f"/{system}/forget", json={"emails": emails}).raise_for_status()
    looked = client.post(f"/{system}/lookup", json={"emails": [*emails, CONTROL]}).raise_for_status().json()
    left = {person["email"] for person in looked["people"]}
    states = ["left" if email in left else "erased_verified" for email in emails]
    with connection.transaction():
        connection.execute(_RECORD, {"batch": batch, "ids": [step_id for step_id, _ in steps], "states": states})
    return len(steps)
