"""Entries get into the tree once, in one order, whoever writes and whoever dies; only consistent heads are signed."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from service.audit import sequence as sequence_audit_module
from service.audit.sequence import CheckpointRule, SequencedBatch, sequence_audit
from service.domain.audit.merkle import is_consistent, is_included, leaf_hash, root_of
from service.domain.audit.signed_note import SigningKey, open_checkpoint, sign_checkpoint
from service.store.audit_log import log as audit_log
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.tree import consistency_proof, inclusion_proof

Tamper = Callable[..., None]


def rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


def leaves(engine: Engine) -> list[bytes]:
    found = rows(engine, "SELECT index AS place, entry FROM audit_leaves ORDER BY index")
    assert [row.place for row in found] == list(range(len(found)))
    return [bytes(row.entry) for row in found]


def test_entries_are_in_the_log_exactly_if_their_change_was_committed(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    kept, lost = uuid4(), uuid4()
    written = writer.log(kept)
    with engine.connect() as connection:
        writer.log(lost, connection=connection)
        connection.rollback()
    assert sequence_audit(engine, signing_key).entries == 1
    assert leaves(engine) == [written[0].encode()]
    assert rows(engine, "SELECT 1 FROM audit_pending") == []


def test_many_entries_of_one_transaction_keep_their_order(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    one, other = uuid4(), uuid4()
    written = writer.log(*[one, other] * 20)
    sequence_audit(engine, signing_key)
    assert leaves(engine) == [entry.encode() for entry in written]


def test_an_entry_that_commits_late_is_not_skipped(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    """Its id is smaller than those already sequenced: "id > last" would never see it."""
    with engine.connect() as slow:
        late = writer.log(uuid4(), connection=slow)
        early = writer.log(uuid4())
        assert sequence_audit(engine, signing_key).entries == 1
        slow.commit()
    assert sequence_audit(engine, signing_key).entries == 1
    assert leaves(engine) == [early[0].encode(), late[0].encode()]


def test_writers_do_not_wait_for_each_other_nor_for_the_sequencer(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    with engine.connect() as first, engine.connect() as second, engine.connect() as sequencer:
        for connection in (first, second):
            connection.execute(text("SET lock_timeout = '1s'"))
        sequencer.execute(sequence_audit_module._LOCK)
        writer.log(uuid4(), connection=first)
        writer.log(uuid4(), connection=second)
        second.commit()
        first.commit()
    assert sequence_audit(engine, signing_key).entries == 2


def test_several_sequencers_and_writers_give_one_dense_log(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    stop = threading.Event()
    written: list[bytes] = []

    def write(object_id: UUID) -> None:
        for _ in range(25):
            written.extend(entry.encode() for entry in writer.log(object_id))

    def sequence() -> int:
        taken = 0
        while not stop.is_set():
            taken += sequence_audit(engine, signing_key, max_entries=7).entries
        return taken

    with ThreadPoolExecutor(7) as pool:
        sequencers = [pool.submit(sequence) for _ in range(3)]
        for future in [pool.submit(write, uuid4()) for _ in range(4)]:
            future.result()
        stop.set()
        taken = sum(future.result() for future in sequencers)
    while (batch := sequence_audit(engine, signing_key)).entries:
        taken += batch.entries
    assert taken == 100
    assert sorted(leaves(engine)) == sorted(written)


def test_a_batch_is_bounded_and_says_that_there_is_more(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    writer.log(*[uuid4() for _ in range(5)])
    sizes = [
        (batch.entries, batch.more) for batch in (sequence_audit(engine, signing_key, max_entries=2) for _ in "abc")
    ]
    assert sizes == [(2, True), (2, True), (1, False)]


def test_a_sequencer_that_dies_before_its_commit_leaves_everything_pending(
    engine: Engine, signing_key: SigningKey, writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeathError(Exception):
        pass

    def die(*_: object, **__: object) -> None:
        raise DeathError

    writer.log(uuid4(), uuid4())
    with monkeypatch.context() as patch:
        patch.setattr(sequence_audit_module, "sign_checkpoint", die)
        with pytest.raises(DeathError):
            sequence_audit(engine, signing_key)
    assert leaves(engine) == []
    assert sequence_audit(engine, signing_key).entries == 2


def test_the_signed_root_is_the_root_over_the_entries(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    for _ in range(5):
        writer.log(*[uuid4() for _ in range(3)])
        note = sequence_audit(engine, signing_key, checkpoint_now=True).note
    checkpoint = open_checkpoint(note or "", signing_key.trusted)
    assert checkpoint.size == 15
    assert checkpoint.root == root_of(map(leaf_hash, leaves(engine)))


def test_stored_nodes_prove_inclusion_and_consistency(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    for _ in range(4):
        writer.log(*[uuid4() for _ in range(3)])
        sequence_audit(engine, signing_key, checkpoint_now=True)
    entries = leaves(engine)
    notes = [row.note for row in rows(engine, "SELECT note FROM audit_checkpoints ORDER BY size")]
    heads = [open_checkpoint(note, signing_key.trusted) for note in notes]
    assert [head.size for head in heads] == [3, 6, 9, 12]
    with engine.connect() as connection:
        for index, entry in enumerate(entries):
            proof = inclusion_proof(connection, index, 12)
            assert is_included(leaf_hash(entry), index, 12, proof, heads[-1].root)
        for earlier, later in pairwise(heads):
            proof = consistency_proof(connection, earlier.size, later.size)
            assert is_consistent(earlier.size, earlier.root, later.size, later.root, proof)


def test_a_checkpoint_is_signed_after_a_minute_or_a_thousand_entries(
    engine: Engine, signing_key: SigningKey, writer: Any, tamper: Tamper
) -> None:
    def grow(rule: CheckpointRule = CheckpointRule()) -> SequencedBatch:  # noqa: B008 - frozen
        writer.log(uuid4())
        return sequence_audit(engine, signing_key, rule=rule)

    assert grow().note is not None, "the first entries are signed at once"
    assert grow().note is None
    assert grow(CheckpointRule(after_entries=3)).note is None
    assert grow(CheckpointRule(after_entries=3)).note is not None
    assert grow(CheckpointRule(after=timedelta(0))).note is not None
    tamper("UPDATE audit_checkpoints SET created_at = created_at - interval '61 seconds'")
    assert grow().note is not None
    tamper("UPDATE audit_checkpoints SET created_at = created_at + interval '1 hour'")
    assert grow().note is not None, "a time to come postpones nothing"
    assert sequence_audit(engine, signing_key, rule=CheckpointRule(after=timedelta(0))).note is None, "nothing grew"


def test_asking_for_a_checkpoint_of_a_log_that_has_not_grown_gives_the_last(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    empty = sequence_audit(engine, signing_key, checkpoint_now=True).note
    assert open_checkpoint(empty or "", signing_key.trusted).size == 0
    writer.log(uuid4())
    first = sequence_audit(engine, signing_key, checkpoint_now=True).note
    assert sequence_audit(engine, signing_key, checkpoint_now=True).note == first
    assert len(rows(engine, "SELECT 1 FROM audit_checkpoints")) == 2


# --- entries that don't follow their object's newest one --------------------------------------------------------------


def test_an_entry_that_does_not_follow_stays_pending_and_the_others_go_on(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    broken, sound = uuid4(), uuid4()
    first = writer.log(broken)
    doubled = writer.newest[broken]
    writer.newest[broken] = (0, None)
    writer.log(broken)
    writer.newest[broken] = (doubled[0], "ab" * 32)
    writer.log(broken)
    writer.newest[broken] = (7, "ab" * 32)
    writer.log(broken)
    also = writer.log(sound)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO audit_pending (entry) VALUES ('not an entry')"))
    batch = sequence_audit(engine, signing_key)
    assert (batch.entries, batch.refused) == (2, 4)
    assert leaves(engine) == [first[0].encode(), also[0].encode()]
    refused = [row.refused for row in rows(engine, "SELECT refused FROM audit_pending ORDER BY id")]
    assert refused == ["version_out_of_order", "previous_differs", "version_out_of_order", "not_an_entry"]
    with engine.connect() as connection:
        assert audit_log.pending_count(connection) == (0, 4)
    assert sequence_audit(engine, signing_key) == SequencedBatch(0, 0, 2, None, more=False)


def test_refused_entries_do_not_starve_the_sound_ones(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO audit_pending (entry) SELECT 'x' FROM generate_series(1, 5)"))
    writer.log(uuid4())
    batches = [sequence_audit(engine, signing_key, max_entries=3) for _ in range(3)]
    assert [(batch.entries, batch.refused, batch.more) for batch in batches] == [
        (0, 3, True),
        (1, 2, True),
        (0, 0, False),
    ]


def test_an_entry_changed_while_it_waits_is_refused_by_what_follows_it(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    """A hand in the pending table, in the two seconds before sequencing: the next entry of the object shows it."""
    one = uuid4()
    writer.log(one)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE audit_pending SET entry = decode(replace(encode(entry, 'escape'), 'worker', 'cli'), 'escape')")
        )
    writer.log(one)
    assert sequence_audit(engine, signing_key).refused == 1


# --- a tree that doesn't agree with what was signed -------------------------------------------------------------------


def signed_log(engine: Engine, signing_key: SigningKey, writer: Any) -> None:
    """Six signed entries and three that are sequenced but not signed yet."""
    writer.log(*[uuid4() for _ in range(6)])
    sequence_audit(engine, signing_key, checkpoint_now=True)
    writer.log(*[uuid4() for _ in range(3)])
    assert sequence_audit(engine, signing_key).note is None


DAMAGE = {
    "the unsigned leaves and one signed are gone": ("DELETE FROM audit_leaves WHERE index >= 5", "log_cut"),
    "all leaves are gone": ("TRUNCATE audit_leaves", "log_cut"),
    "the checkpoints are gone": ("DELETE FROM audit_checkpoints", "log_cut"),
    "an unsigned entry was edited": (
        "UPDATE audit_leaves SET entry = entry || 'x' WHERE index = 7",
        "leaf_hash_differs",
    ),
    "an unsigned leaf hash was edited": (
        "UPDATE audit_leaves SET leaf_hash = sha256('x') WHERE index = 7",
        "leaf_hash_differs",
    ),
    "an unsigned entry was edited with its leaf hash": (
        "UPDATE audit_leaves SET entry = 'x', leaf_hash = sha256(decode('0078', 'hex')) WHERE index = 7",
        "stored_nodes_differ",
    ),
    "an unsigned leaf is missing": ("DELETE FROM audit_leaves WHERE index = 6", "index_missing"),
    "a peak under the signed root was edited": (
        "UPDATE audit_nodes SET hash = sha256('x') WHERE level = 2 AND index = 0",
        "signed_root_differs",
    ),
    "a peak under the signed root is gone": ("DELETE FROM audit_nodes WHERE level = 2 AND index = 0", "node_missing"),
    "a node above the signed root was edited": (
        "UPDATE audit_nodes SET hash = sha256('x') WHERE level = 3 AND index = 0",
        "stored_nodes_differ",
    ),
    "a node that only a consistency proof needs was edited": (
        "UPDATE audit_nodes SET hash = sha256('x') WHERE level = 1 AND index = 3",
        "inconsistent_with_signed",
    ),
    "the signed root column was edited": (
        "UPDATE audit_checkpoints SET root = sha256('x')",
        "checkpoint_columns_differ",
    ),
    "the signed size column was edited": ("UPDATE audit_checkpoints SET size = 7", "checkpoint_columns_differ"),
    "the note was edited": ("UPDATE audit_checkpoints SET note = replace(note, '6', '7')", "checkpoint_not_ours"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_is_signed_on_a_damaged_log(
    damage: str, engine: Engine, signing_key: SigningKey, writer: Any, tamper: Tamper
) -> None:
    signed_log(engine, signing_key, writer)
    tamper(DAMAGE[damage][0])
    writer.log(uuid4())
    before = rows(engine, "SELECT count(*) FROM audit_checkpoints")
    for _ in range(2):
        with pytest.raises(AuditLogBroken) as broken:
            sequence_audit(engine, signing_key, checkpoint_now=True)
        assert broken.value.code == DAMAGE[damage][1]
    assert rows(engine, "SELECT count(*) FROM audit_checkpoints") == before
    assert len(rows(engine, "SELECT 1 FROM audit_pending")) == 1, "what waits is not lost"
    findings = rows(engine, "SELECT code FROM audit_findings")
    assert [row.code for row in findings] == [DAMAGE[damage][1]], "kept once, however often it is met"


def test_a_consistent_looking_rewrite_of_signed_entries_is_not_signed(
    engine: Engine, signing_key: SigningKey, writer: Any, tamper: Tamper
) -> None:
    """Somebody with SQL drops the tree, replays other entries through the sequencer's own code, and puts the old
    checkpoint back: every stored hash is right, but the tree isn't the one that was signed."""
    signed_log(engine, signing_key, writer)
    kept = rows(engine, "SELECT size, root, note FROM audit_checkpoints")[0]
    tamper("TRUNCATE audit_leaves, audit_nodes, audit_heads, audit_checkpoints")
    writer.log(*[uuid4() for _ in range(9)])
    sequence_audit(engine, signing_key)
    tamper("TRUNCATE audit_checkpoints")
    tamper("INSERT INTO audit_checkpoints (size, root, note) VALUES (:size, :root, :note)", **kept._mapping)
    with pytest.raises(AuditLogBroken, match="signed_root_differs"):
        sequence_audit(engine, signing_key, checkpoint_now=True)


def test_a_checkpoint_signed_by_another_key_is_not_built_upon(
    engine: Engine, signing_key: SigningKey, writer: Any, tamper: Tamper, tmp_path: Any
) -> None:
    from service.store.audit_log.signing_key import load_signing_key

    signed_log(engine, signing_key, writer)
    other = load_signing_key(tmp_path / "other", signing_key.trusted.name)
    checkpoint = rows(engine, "SELECT size, root FROM audit_checkpoints")[0]
    tamper("UPDATE audit_checkpoints SET note = :note", note=sign_checkpoint(other, checkpoint.size, checkpoint.root))
    with pytest.raises(AuditLogBroken, match="checkpoint_not_ours"):
        sequence_audit(engine, signing_key)


# --- the fence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["audit_leaves", "audit_nodes", "audit_checkpoints", "audit_findings"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {}"])
def test_the_fence_refuses_to_shorten_what_was_logged(table: str, change: str, engine: Engine) -> None:
    with pytest.raises(Exception, match="only grows"), engine.begin() as connection:
        connection.execute(text(change.format(table)))


def test_the_fence_refuses_to_change_what_was_logged(engine: Engine) -> None:
    for statement in (
        "UPDATE audit_leaves SET entry = entry",
        "UPDATE audit_nodes SET hash = hash",
        "UPDATE audit_checkpoints SET note = note",
        "UPDATE audit_findings SET code = code",
    ):
        with pytest.raises(Exception, match="only grows"), engine.begin() as connection:
            connection.execute(text(statement))
