"""A store that has worked for years: finished pairs with their requests, identifiers, plans and attempts."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tests.benchmarks.fanout.installation import SYSTEMS

_ATTEMPTS_A_PAIR = 3

_REQUESTS = """
INSERT INTO requests (id, subject, kind, scopes, regime, state, received_at, created_at, respond_by, submitted_by,
    plan_version, answered_at, sealed_at, version)
SELECT gen_random_uuid(), md5('old' || n), 'erasure', '{erased}', 'gdpr', 'fulfilled', at, at, at + interval '1 month',
    gen_random_uuid(), 1, at + interval '1 hour', at + interval '8 days', 5
FROM generate_series(1, :people) AS n, LATERAL (SELECT now() - make_interval(secs => n) - interval '40 days') AS t(at)
"""
_IDENTIFIERS = """
INSERT INTO identifiers (id, request_id, origin, kind, keyed_hash, verification_method, verified_at, use, plan_version)
SELECT gen_random_uuid(), id, 'submitted', 'email', sha256(subject::bytea), 'email_link', received_at, 'planned', 1
FROM requests
"""
_PLANS = """
INSERT INTO plans (request_id, version, hash, frozen_at) SELECT id, 1, md5(subject), received_at FROM requests
"""
_STEPS = """
INSERT INTO steps (id, request_id, system, position, phase, state, respond_by, plan_version, located, attempts,
    effect_possible, ended_at, version)
SELECT gen_random_uuid(), r.id, y.name, y.position, 'confirm', 'erased_verified', r.respond_by, 1, true, 3, true,
    r.answered_at, 8
FROM requests r CROSS JOIN systems y
"""
_ATTEMPTS = """
INSERT INTO attempts (step_id, batch_id, fence, phase, number, started_at, ended_at, answer)
SELECT s.id, r.id, 1, 'erase', n, r.answered_at, r.answered_at, 'erased'
FROM steps s JOIN requests r ON r.id = s.request_id CROSS JOIN generate_series(1, :attempts) AS n
"""


def add_finished(engine: Engine, pairs: int) -> None:
    """Fill an empty store with finished pairs and let PostgreSQL count them anew."""
    values = {"people": pairs // SYSTEMS, "attempts": _ATTEMPTS_A_PAIR}
    with engine.begin() as connection:
        for statement in (_REQUESTS, _IDENTIFIERS, _PLANS, _STEPS, _ATTEMPTS):
            wanted = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), wanted)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
