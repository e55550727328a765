"""A pruned log is shorter, and what remains is as verifiable as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from service.audit.prune import Pruning, prune_audit
from service.audit.sequence import checkpoint_everything
from service.domain.audit.entry import AuditEntry, decode_entry
from service.domain.audit.merkle import fold_peaks, is_consistent, is_included, leaf_hash, node_hash
from service.domain.audit.signed_note import SigningKey, open_logged_checkpoint
from service.domain.errors import EvidenceRemoved, Invalid
from service.store.audit_log import log as audit_log
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.tree import consistency_proof, inclusion_proof, stored_tree

OLD = datetime(2020, 1, 1, tzinfo=UTC)
NEW = datetime(2026, 11, 22, tzinfo=UTC)
RETENTION = timedelta(days=731)


@dataclass
class Log:
    engine: Engine
    key: SigningKey

    def log(self, *ages: datetime, subject: str | None = None) -> None:
        entries = [AuditEntry("export_made", "export", str(uuid4()), 1, None, at, "cli") for at in ages]
        if subject is not None:
            entries = [
                AuditEntry("request_expedited", "request", str(uuid4()), 1, None, at, "worker", subject) for at in ages
            ]
        with self.engine.begin() as connection:
            audit_log.append(connection, entries)
        checkpoint_everything(self.engine, self.key)

    def prune(self, retention: timedelta = RETENTION) -> Pruning:
        return prune_audit(self.engine, self.key, retention=retention, operator="ada")

    def entries(self) -> dict[int, bytes]:
        return {row.place: bytes(row.entry) for row in self.rows("SELECT index AS place, entry FROM audit_leaves")}

    def rows(self, statement: str) -> list[Any]:
        with self.engine.begin() as connection:
            return list(connection.execute(text(statement)))

    def newest(self) -> Any:
        note = self.rows("SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1")[0].note
        return open_logged_checkpoint(note, self.key.trusted)


@pytest.fixture
def log(engine: Engine, signing_key: SigningKey) -> Log:
    return Log(engine, signing_key)


def assert_all_is_provable(log: Log) -> None:
    """Every remaining entry is in the newest head, and the bytes with the kept roots give exactly the signed root."""
    head, entries = log.newest(), log.entries()
    start = min(entries)
    assert sorted(entries) == list(range(start, head.size))
    with log.engine.begin() as connection:
        for index, raw in entries.items():
            proof = inclusion_proof(connection, index, head.size)
            assert is_included(leaf_hash(raw), index, head.size, proof, head.root)
            assert not is_included(leaf_hash(raw + b" "), index, head.size, proof, head.root)
        tree = stored_tree(connection, start)
        for index in range(start, head.size):
            tree.append(leaf_hash(entries[index]))
    assert tree.root() == head.root


@pytest.mark.parametrize("old", [1, 2, 3, 4, 5, 8, 12, 13, 31, 64, 70])
@pytest.mark.parametrize("new", [1, 6])
def test_what_remains_is_provable(log: Log, old: int, new: int) -> None:
    log.log(*[OLD] * old)
    log.log(*[NEW] * new)
    before = log.entries()
    pruning = log.prune()
    assert pruning == Pruning(old - old % 2, old - old % 2)
    remaining = log.entries()
    assert {index: remaining[index] for index in before if index >= pruning.size} == {
        index: raw for index, raw in before.items() if index >= pruning.size
    }
    assert_all_is_provable(log)
    first = log.newest()
    log.log(NEW, NEW, NEW)
    assert_all_is_provable(log)
    second = log.newest()
    with log.engine.begin() as connection:
        proof = consistency_proof(connection, first.size, second.size)
    assert is_consistent(first.size, first.root, second.size, second.root, proof)


def test_pruning_again_later_goes_on_from_where_it_was(log: Log) -> None:
    log.log(*[OLD] * 11, *[NEW] * 10)
    assert log.prune().size == 10
    assert log.prune() == Pruning(0, 10)
    # However short the retention, the newest entry stays.
    assert log.prune(timedelta(0)).size == 20
    assert len(log.entries()) == 3
    log.log(NEW)
    assert_all_is_provable(log)


def test_nothing_younger_than_the_retention_goes_even_between_older_ones(log: Log) -> None:
    log.log(OLD, OLD, NEW, OLD, OLD, OLD)
    assert log.prune().size == 2


def test_a_request_that_is_not_sealed_keeps_its_entries_and_all_after_them(log: Log) -> None:
    log.log(OLD, OLD)
    log.log(OLD, OLD, subject="ab" * 16)
    log.log(OLD, OLD)
    request = (
        "INSERT INTO requests (id, subject, kind, scopes, regime, state, received_at, respond_by, submitted_by)"
        f" VALUES ('{uuid4()}', '{'ab' * 16}', 'erasure', '{{erased}}', 'gdpr', 'open', now(), now(), '{uuid4()}')"
    )
    with log.engine.begin() as connection:
        connection.execute(text(request))
    assert log.prune().size == 2
    with log.engine.begin() as connection:
        connection.execute(text("UPDATE requests SET sealed_at = now()"))
    assert log.prune().size == 6


def test_the_act_is_an_entry_with_a_name_and_the_root_of_what_is_gone(log: Log) -> None:
    log.log(*[OLD] * 4, NEW)
    leaves = [leaf_hash(raw) for _, raw in sorted(log.entries().items())][:4]
    log.prune()
    entry = decode_entry(log.entries()[max(log.entries())])
    assert (entry["event"], entry["actor"], entry["data"]["size"]) == ("log_pruned", "operator:ada", 4)
    root = node_hash(node_hash(*leaves[:2]), node_hash(*leaves[2:]))
    assert entry["data"]["root"] == root.hex() == fold_peaks([root]).hex()
    assert bytes(log.rows("SELECT root FROM audit_pruned")[0].root) == root


def test_the_fence_stands_again_afterwards(log: Log) -> None:
    log.log(*[OLD] * 4, NEW)
    log.prune()
    for table in ("audit_leaves", "audit_nodes"):
        with pytest.raises(Exception, match="only grows"), log.engine.begin() as connection:
            connection.execute(text(f"DELETE FROM {table}"))


@pytest.mark.parametrize(
    "hand",
    [
        "UPDATE audit_leaves SET entry = convert_to(replace(convert_from(entry, 'UTF8'), '2020', '2019'), 'UTF8')",
        "DELETE FROM audit_leaves WHERE index = 1",
        "UPDATE audit_nodes SET hash = decode(repeat('00', 32), 'hex') WHERE level = 2 AND index = 0",
        "UPDATE audit_leaves SET entry = 'nothing' WHERE index = 0",
    ],
)
def test_evidence_of_a_hand_in_the_log_is_not_pruned_away(log: Log, tamper: Callable[..., None], hand: str) -> None:
    log.log(*[OLD] * 4, NEW)
    tamper(hand)
    before = log.entries()
    with pytest.raises(AuditLogBroken):
        log.prune()
    assert log.entries() == before
    assert log.rows("SELECT 1 FROM audit_findings")
    assert log.rows("SELECT 1 FROM audit_pruned") == []


def test_nobody_in_particular_prunes_nothing(log: Log) -> None:
    log.log(*[OLD] * 4, NEW)
    with pytest.raises(Invalid):
        prune_audit(log.engine, log.key, retention=RETENTION, operator="Ada Byron")
    assert len(log.entries()) == 5
    assert log.rows("SELECT 1 FROM audit_pruned") == []


def test_a_request_whose_first_entries_were_removed_proves_nothing_any_more(log: Log) -> None:
    """What is left would read like the whole story. Requests that are there from their first entry on prove theirs."""
    half, whole, gone = uuid4().hex, uuid4().hex, uuid4().hex
    first = AuditEntry("request_expedited", "request", str(uuid4()), 1, None, OLD, "worker", half)
    later = AuditEntry("request_sealed", "request", first.object_id, 2, first.digest(), NEW, "worker", half)
    with log.engine.begin() as connection:
        audit_log.append(connection, [first])
    log.log(OLD, subject=gone)
    with log.engine.begin() as connection:
        audit_log.append(connection, [later])
    log.log(NEW, NEW, subject=whole)
    with log.engine.begin() as connection:
        assert len(audit_log.proven_entries(connection, half, log.newest())) == 2
    assert log.prune().removed == 2
    with log.engine.begin() as connection:
        assert len(audit_log.proven_entries(connection, whole, log.newest())) == 2
        for subject in (half, gone):
            with pytest.raises(EvidenceRemoved, match="the 2 oldest"):
                audit_log.proven_entries(connection, subject, log.newest())
