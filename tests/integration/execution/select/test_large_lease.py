"""A lease of more people than one entry can name: each is in exactly one entry, and the entries follow each other."""

from __future__ import annotations

from itertools import chain

import pytest
from sqlalchemy import text

from service.domain.audit.entry import decode_entry, digest_of
from service.execution.lease import lease_steps
from tests.integration.execution.select.rows import SYSTEM, Desk, settings_with


def test_everybody_of_a_large_lease_is_in_exactly_one_entry(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.execution.lease._open", lambda stores, batch, *others: batch)
    desk.add(1_001, batch=desk.batch(phase="locate"))
    assert lease_steps(desk.stores, settings_with(max_batching_delay_seconds=0.0), SYSTEM) is not None
    with desk.engine.begin() as connection:
        raw = [bytes(row.entry) for row in connection.execute(text("SELECT entry FROM audit_pending ORDER BY id"))]
        leased = connection.execute(text("SELECT id::text FROM steps WHERE state = 'leased'")).scalars().all()
        batch = connection.execute(text("SELECT version, entry_hash FROM batches")).one()
    entries = [decode_entry(one) for one in raw]
    named = list(chain.from_iterable(entry["data"]["steps"] for entry in entries))
    assert [len(entry["data"]["steps"]) for entry in entries] == [500, 500, 1]
    assert len(named) == len(leased) == 1_001
    assert set(named) == set(leased)
    assert [entry["previous"] for entry in entries] == [None, *map(digest_of, raw[:-1])]
    assert (batch.version, bytes(batch.entry_hash).hex()) == (3, digest_of(raw[-1]))
