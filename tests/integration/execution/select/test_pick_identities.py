"""Whose people are looked for next: nobody waits behind a bulk submission, and asking past it costs nothing."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid4

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE, URGENT_FAIR_QUEUE
from service.execution.due import has_due_identities
from service.requests.deadlines import expedite_request
from service.requests.records.store import pick_identities
from tests.integration.execution.select.rows import Desk

BULK = uuid4()


def submit(desk: Desk, people: int, *, bulk: UUID | None = None, days_left: float = 20, due_for: float = 60) -> None:
    """So many requests whose people are still to be found."""
    if bulk is not None:
        desk.write(
            "INSERT INTO imports (id, submitted_by, key, format, state) VALUES (:id, :id, 'key', 'jsonl', 'running')"
            " ON CONFLICT DO NOTHING",
            id=bulk,
        )
    desk.write(
        "INSERT INTO requests (id, subject, kind, scopes, regime, state, received_at, respond_by, submitted_by,"
        " next_action, due_at, import_id) SELECT gen_random_uuid(), gen_random_uuid()::text, 'erasure', '{erased}',"
        " 'gdpr', 'open', now(),"
        " date_trunc('day', now()) + make_interval(secs => :left), gen_random_uuid(), 'identify',"
        " clock_timestamp() - make_interval(secs => :due), :bulk FROM generate_series(1, :n)",
        n=people,
        left=days_left * 86400.0,
        due=due_for,
        bulk=bulk,
    )


def picked(desk: Desk, limit: int) -> Counter[UUID]:
    with desk.engine.begin() as connection:
        ids = pick_identities(connection, limit)
    return Counter(row.fair_queue for row in desk.rows("SELECT fair_queue FROM requests WHERE id = ANY(:ids)", ids=ids))


def test_half_of_a_walk_is_the_most_of_one_bulk_submission_while_others_wait(desk: Desk) -> None:
    assert not has_due_identities(desk.stores)
    submit(desk, 100, bulk=BULK, days_left=2)
    assert picked(desk, 20) == {BULK: 20}
    submit(desk, 4)
    assert picked(desk, 20) == {BULK: 16, DEFAULT_FAIR_QUEUE: 4}
    submit(desk, 40)
    assert picked(desk, 20) == {BULK: 10, DEFAULT_FAIR_QUEUE: 10}
    desk.write("UPDATE requests SET lease_until = clock_timestamp() + interval '1 minute' WHERE import_id IS NULL")
    assert picked(desk, 20) == {BULK: 20}
    desk.write("UPDATE requests SET due_at = clock_timestamp() + interval '1 minute'")
    assert picked(desk, 20) == {}
    assert not has_due_identities(desk.stores)


def test_who_is_marked_as_urgent_goes_first_everywhere(desk: Desk) -> None:
    submit(desk, 100, bulk=BULK, days_left=2)
    submit(desk, 1, days_left=29)
    (marked,) = desk.rows("SELECT id FROM requests WHERE import_id IS NULL")
    for _ in range(2):
        expedite_request(desk.stores, marked.id, actor="cli")
    assert picked(desk, 1) == {URGENT_FAIR_QUEUE: 1}
    # Marked once, logged once; steps that stand already change their line, ended ones don't.
    assert desk.rows("SELECT version FROM requests WHERE id = :id", id=marked.id)[0].version == 1
    desk.add(2, days_left=29)
    one, other = desk.rows("SELECT id, request_id FROM steps")
    desk.write("UPDATE steps SET ended_at = now(), state = 'absent' WHERE id = :id", id=other.id)
    expedite_request(desk.stores, one.request_id, actor="cli")
    expedite_request(desk.stores, other.request_id, actor="cli")
    fair_queues = {row.id: row.fair_queue for row in desk.rows("SELECT id, fair_queue FROM steps")}
    assert fair_queues == {one.id: URGENT_FAIR_QUEUE, other.id: DEFAULT_FAIR_QUEUE}
