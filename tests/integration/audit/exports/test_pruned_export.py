"""The export of a pruned log verifies offline, and any change in it shows, as in that of a whole one."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from service.audit.exports.full import export_audit
from service.audit.prune import prune_audit
from service.audit.sequence import checkpoint_everything
from service.cli.audit import verify_audit
from service.domain.audit.entry import AuditEntry
from service.domain.audit.signed_note import SigningKey
from service.store.audit_log import log as audit_log

OLD, NEW = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def exported(engine: Engine, signing_key: SigningKey, tmp_path: Path) -> Path:
    with engine.begin() as connection:
        key = uuid4()
        first = AuditEntry("key_created", "key", str(key), 1, None, OLD, "cli", None, {"roles": []})
        second = AuditEntry("key_revoked", "key", str(key), 2, first.digest(), NEW, "cli")
        others = [AuditEntry("export_made", "export", str(uuid4()), 1, None, OLD, "cli") for _ in range(6)]
        audit_log.append(connection, [first, *others, second])
    checkpoint_everything(engine, signing_key)
    assert prune_audit(engine, signing_key, retention=timedelta(days=731), operator="ada").size == 6
    path = tmp_path / "audit.jsonl"
    with path.open("wb") as out:
        export_audit(engine, signing_key, out)
    (tmp_path / "audit.pub").write_text(f"{signing_key.trusted}\n")
    return path


def test_it_verifies_and_says_what_is_gone(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_audit.main([str(exported)]) == 0
    assert "the first 6 of 9 were pruned" in capsys.readouterr().out
    assert exported.read_bytes().count(b'{"entry":') == 3


def test_every_flipped_bit_is_found(exported: Path) -> None:
    good, key = exported.read_bytes(), verify_audit.read_key(exported.parent / "audit.pub", [])
    accepted = []
    for place in range(len(good)):
        for bit in range(8):
            changed = good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]
            try:
                verify_audit.verify_export(io.BytesIO(changed), key)
            except verify_audit.Broken:
                continue
            accepted.append((place, bit))
        # The command line comes to the same end.
        if good[place : place + 1] == b"\n":
            exported.write_bytes(changed)
            assert verify_audit.main([str(exported)]) == 1, place
    assert accepted == []


def test_dropped_lines_are_found(exported: Path) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    for gone in range(len(lines)):
        exported.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        assert verify_audit.main([str(exported)]) == 1
