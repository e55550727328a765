"""The export is the log's own bytes, the same each time, and says so when any stored byte was touched."""

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from service.audit import rebuild as replay_module
from service.audit.exports import full as export_audit_module
from service.audit.exports.full import export_audit
from service.audit.sequence import sequence_audit
from service.cli.audit.verify_audit import Broken, Key, main, verify_export
from service.domain.audit.entry import AuditEntry
from service.domain.audit.signed_note import SigningKey, open_checkpoint, sign_checkpoint
from service.store.audit_log import log as audit_log
from service.store.audit_log.findings import AuditLogBroken

Tamper = Callable[..., None]


def exported(engine: Engine, signing_key: SigningKey) -> bytes:
    out = io.BytesIO()
    export_audit(engine, signing_key, out)
    return out.getvalue()


def verdict(content: bytes, signing_key: SigningKey) -> str:
    return verify_export(io.BytesIO(content), Key(str(signing_key.trusted)))


@pytest.fixture
def grown(engine: Engine, signing_key: SigningKey, writer: Any) -> Engine:
    """Eleven entries of four objects under three checkpoints, four of them not signed yet."""
    objects = [uuid4() for _ in range(4)]
    for chosen in (objects, objects[:3], objects[1:]):
        writer.log(*chosen)
        sequence_audit(engine, signing_key, checkpoint_now=True)
    writer.log(objects[0])
    sequence_audit(engine, signing_key)
    return engine


def test_an_export_verifies_offline_with_the_key_file_of_the_keys_directory(
    grown: Engine, signing_key: SigningKey, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    with path.open("wb") as out:
        done = export_audit(grown, signing_key, out)
    assert done.entries == 11
    assert open_checkpoint(done.note, signing_key.trusted).size == 11
    assert main([str(path), "--key", str(tmp_path / "keys" / "audit.pub")]) == 0


def test_the_same_log_gives_the_same_bytes(grown: Engine, signing_key: SigningKey) -> None:
    assert exported(grown, signing_key) == exported(grown, signing_key)


def test_an_export_holds_what_was_pending(grown: Engine, signing_key: SigningKey, writer: Any) -> None:
    entry = writer.log(uuid4())[0]
    content = exported(grown, signing_key)
    assert verdict(content, signing_key).startswith("12 entries of 5 objects")
    assert b'{"entry":%b,"index":11}\n' % entry.encode() in content


def test_an_empty_log_can_be_exported(engine: Engine, signing_key: SigningKey) -> None:
    assert verdict(exported(engine, signing_key), signing_key).startswith("0 entries")


def replayed(engine: Engine, _: SigningKey) -> None:
    replay_module.replay_audit(engine)


@pytest.mark.parametrize(("module", "read"), [(export_audit_module, exported), (replay_module, replayed)])
def test_an_export_and_a_replay_read_in_a_transaction_that_refuses_writes(
    grown: Engine, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch, module: ModuleType, read: Tamper
) -> None:
    def write(connection: Connection) -> None:
        connection.execute(text("DELETE FROM audit_pending"))

    monkeypatch.setattr(module, "pruned_prefix", write)
    with pytest.raises(DBAPIError, match="read-only transaction"):
        read(grown, signing_key)
    # The pooled connection isn't read-only afterwards.
    with grown.begin() as connection:
        write(connection)


def test_an_export_over_many_chunks_verifies(
    engine: Engine, signing_key: SigningKey, writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_audit_module, "_CHUNK", 7)
    one = uuid4()
    for size in (5, 1, 30, 3):
        writer.log(*[one] * size)
        sequence_audit(engine, signing_key, checkpoint_now=True)
    assert verdict(exported(engine, signing_key), signing_key).startswith("39 entries of 1 objects")


def test_a_bit_in_every_byte_of_a_real_export_matters(grown: Engine, signing_key: SigningKey) -> None:
    content = exported(grown, signing_key)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        with pytest.raises(Broken):
            verdict(bytes(changed), signing_key)


class Watching(io.BytesIO):
    """Keeps nothing but how large a piece was written at once."""

    largest = 0

    def write(self, data: Any) -> int:
        self.largest = max(self.largest, len(data))
        return len(data)


def test_an_export_is_written_and_read_in_pieces(
    engine: Engine, signing_key: SigningKey, writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_audit_module, "_CHUNK", 10)
    writer.log(*[uuid4() for _ in range(200)])
    cursors: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda _, cursor, *rest: cursors.append(cursor))
    out = Watching()
    export_audit(engine, signing_key, out)
    assert out.largest < 10 * 500
    reading = [cursor for cursor in cursors if isinstance(cursor, psycopg.ServerCursor)]
    assert len(reading) == 1, "the leaves are read through a server-side cursor"


# --- every row and column ---------------------------------------------------------------------------------------------

# Columns that claim something. Not among them: created_at of a checkpoint, the sequencer's own bookkeeping.
SWAPPED = "sha256('another')"
CHANGES = {
    "audit_leaves.entry": "UPDATE audit_leaves SET entry = set_bit(entry, 99, 1 - get_bit(entry, 99)) WHERE index = {}",
    "audit_leaves.entry, chained": "UPDATE audit_leaves SET "
    "entry = decode(replace(encode(entry, 'escape'), 'waiting', 'settled'), 'escape') WHERE index = {}",
    "audit_leaves.leaf_hash": f"UPDATE audit_leaves SET leaf_hash = {SWAPPED} WHERE index = {{}}",
    "audit_leaves, both": "UPDATE audit_leaves SET entry = 'x', leaf_hash = sha256(decode('0078', 'hex')) "
    "WHERE index = {}",
    "audit_leaves.subject": "UPDATE audit_leaves SET subject = repeat('ab', 16) WHERE index = {}",
    "audit_leaves.subject, none": "UPDATE audit_leaves SET subject = NULL WHERE index = {}",
    "audit_leaves.index": "UPDATE audit_leaves SET index = 1000 + index WHERE index = {}",
    "audit_leaves, row": "DELETE FROM audit_leaves WHERE index = {}",
}


def found(engine: Engine, signing_key: SigningKey) -> str:
    """How a damaged log shows: by the exporter, and also offline if entries themselves were touched."""
    out = io.BytesIO()
    with pytest.raises(AuditLogBroken) as broken:
        export_audit(engine, signing_key, out)
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT code FROM audit_findings")).scalars().all()
    assert broken.value.code in kept
    if out.getvalue():
        try:
            verdict(out.getvalue(), signing_key)
        except Broken:
            return "exporter and offline"
    return "exporter" if out.getvalue() else "refused"


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_any_leaf_is_found(change: str, grown: Engine, signing_key: SigningKey, tamper: Tamper) -> None:
    sequence_audit(grown, signing_key, checkpoint_now=True)
    saved = snapshot(grown)
    for index in range(11):
        tamper(CHANGES[change].format(index))
        where = found(grown, signing_key)
        if change.startswith("audit_leaves.entry") or change == "audit_leaves, both":
            assert where in ("exporter and offline", "refused")
        restore(tamper, saved)
    assert verdict(exported(grown, signing_key), signing_key)


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE audit_nodes SET hash = {SWAPPED} WHERE (level, index) = ({{}}, {{}})",
        "UPDATE audit_nodes SET index = index + 1000 WHERE (level, index) = ({}, {})",
        "UPDATE audit_nodes SET level = level + 20 WHERE (level, index) = ({}, {})",
        "DELETE FROM audit_nodes WHERE (level, index) = ({}, {})",
    ],
)
def test_any_change_of_any_node_is_found(change: str, grown: Engine, signing_key: SigningKey, tamper: Tamper) -> None:
    sequence_audit(grown, signing_key, checkpoint_now=True)
    saved = snapshot(grown)
    nodes = [(row["level"], row["index"]) for row in saved["audit_nodes"]]
    assert len(nodes) == 5 + 2 + 1
    for level, index in nodes:
        tamper(change.format(level, index))
        assert found(grown, signing_key) in ("exporter", "refused")
        restore(tamper, saved)


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE audit_checkpoints SET root = {SWAPPED} WHERE size = {{}}",
        "UPDATE audit_checkpoints SET size = size - 1 WHERE size = {}",
        "UPDATE audit_checkpoints SET size = size + 1 WHERE size = {}",
        "UPDATE audit_checkpoints SET note = overlay(note placing 'E' from 3) WHERE size = {}",
        "UPDATE audit_checkpoints SET note = left(note, -2) WHERE size = {}",
        "UPDATE audit_checkpoints SET note = note || note WHERE size = {}",
        "UPDATE audit_checkpoints SET note = (SELECT note FROM audit_checkpoints WHERE size=7) WHERE size={}",
    ],
)
def test_any_change_of_any_checkpoint_is_found(
    change: str, grown: Engine, signing_key: SigningKey, tamper: Tamper
) -> None:
    sequence_audit(grown, signing_key, checkpoint_now=True)
    saved = snapshot(grown)
    sizes = [row["size"] for row in saved["audit_checkpoints"]]
    assert sizes == [4, 7, 10, 11]
    for size in sizes:
        if "WHERE size=7" in change and size == 7:
            continue
        if (size, change.split("SET ")[1].split(" WHERE")[0]) in ((10, "size = size + 1"), (11, "size = size - 1")):
            tamper("DELETE FROM audit_checkpoints WHERE size = :size", size=21 - size)
        tamper(change.format(size))
        assert found(grown, signing_key) in ("exporter", "refused")
        restore(tamper, saved)


def test_a_head_that_our_own_key_signed_over_another_tree_is_found(
    grown: Engine, signing_key: SigningKey, tamper: Tamper
) -> None:
    """A fork: whoever has the key signed another root for a size that was signed before."""
    another = bytes(32)
    tamper(
        "UPDATE audit_checkpoints SET root = :root, note = :note WHERE size = 4",
        root=another,
        note=sign_checkpoint(signing_key, 4, another),
    )
    with pytest.raises(AuditLogBroken, match="signed_root_differs: size 4"):
        export_audit(grown, signing_key, io.BytesIO())


def test_a_changed_object_counter_is_found(grown: Engine, signing_key: SigningKey, tamper: Tamper) -> None:
    tamper("UPDATE audit_heads SET version = version + 1 WHERE object_id = (SELECT min(object_id) FROM audit_heads)")
    assert found(grown, signing_key) == "exporter"


def test_an_unsigned_entry_that_was_deleted_is_found(grown: Engine, signing_key: SigningKey, tamper: Tamper) -> None:
    tamper("DELETE FROM audit_leaves WHERE index = 10")
    assert found(grown, signing_key) == "exporter"


def test_a_broken_log_is_still_written_to_its_end_for_whoever_investigates(
    grown: Engine, signing_key: SigningKey, tamper: Tamper
) -> None:
    sequence_audit(grown, signing_key, checkpoint_now=True)
    tamper(CHANGES["audit_leaves.entry, chained"].format(3))
    out = io.BytesIO()
    with pytest.raises(AuditLogBroken, match="leaf_hash_differs: leaf 3"):
        export_audit(grown, signing_key, out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 13
    assert b"settled" in lines[4]
    assert lines[-1].startswith(b'{"checkpoint":')


def snapshot(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).mappings()]
            for table in ("audit_leaves", "audit_nodes", "audit_checkpoints", "audit_heads")
        }


def restore(tamper: Tamper, saved: dict[str, list[dict[str, Any]]]) -> None:
    tamper("DELETE FROM audit_findings")
    for table, rows in saved.items():
        tamper(f"DELETE FROM {table}")
        names = list(rows[0])
        columns, values = ", ".join(names), ", ".join(f":{name}" for name in names)
        tamper(f"INSERT INTO {table} ({columns}) VALUES ({values})", rows)


# --- the entries of one request ---------------------------------------------------------------------------------------


def test_a_requests_entries_come_with_proofs_under_the_checkpoint(
    engine: Engine, signing_key: SigningKey, writer: Any
) -> None:
    one, other = uuid4(), uuid4()
    mine: list[AuditEntry] = []
    for _ in range(3):
        mine += writer.log(one)
        writer.subject, kept = uuid4().hex, writer.subject
        writer.log(other)
        writer.subject = kept
    note = sequence_audit(engine, signing_key, checkpoint_now=True).note
    checkpoint = open_checkpoint(note or "", signing_key.trusted)
    with engine.connect() as connection:
        proven = audit_log.proven_entries(connection, writer.subject, checkpoint)
        assert audit_log.proven_entries(connection, uuid4().hex, checkpoint) == ()
    assert [entry.index for entry in proven] == [0, 2, 4]
    assert [entry.raw for entry in proven] == [entry.encode() for entry in mine]


def test_a_certificate_over_stored_entries_verifies_offline(
    grown: Engine, signing_key: SigningKey, writer: Any, tmp_path: Path
) -> None:
    from service.domain.audit.proof_bundle import seal_certificate

    note = sequence_audit(grown, signing_key, checkpoint_now=True).note or ""
    with grown.connect() as connection:
        proven = audit_log.proven_entries(connection, writer.subject, open_checkpoint(note, signing_key.trusted))
    path = tmp_path / "certificate.json"
    path.write_bytes(seal_certificate({"subject": writer.subject, "systems": []}, proven, note, signing_key))
    assert main(["--certificate", str(path), "--key", str(tmp_path / "keys" / "audit.pub")]) == 0


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        (CHANGES["audit_leaves.entry, chained"].format(3), "entry_not_in_tree"),
        (f"UPDATE audit_nodes SET hash = {SWAPPED} WHERE (level, index) = (2, 0)", "entry_not_in_tree"),
        ("DELETE FROM audit_nodes WHERE (level, index) = (2, 0)", "node_missing"),
        ("UPDATE audit_leaves SET subject = (SELECT subject FROM audit_leaves WHERE index = 0)", "subject_differs"),
    ],
)
def test_no_entry_is_handed_out_as_proven_from_a_damaged_log(
    statement: str, code: str, grown: Engine, signing_key: SigningKey, writer: Any, tamper: Tamper
) -> None:
    kept = writer.subject
    writer.subject = uuid4().hex
    writer.log(uuid4())
    note = sequence_audit(grown, signing_key, checkpoint_now=True).note or ""
    tamper(statement)
    with grown.connect() as connection, pytest.raises(AuditLogBroken, match=code):
        audit_log.proven_entries(connection, kept, open_checkpoint(note, signing_key.trusted))
