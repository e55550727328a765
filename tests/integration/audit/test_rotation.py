"""A new signing key takes over without a gap; what the old one signed stays good, and nothing more of it does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from service.audit import rotate_signing_key as rotation_module
from service.audit.anchor_checkpoint import anchor_checkpoint
from service.audit.exports.full import export_audit
from service.audit.rotate_signing_key import Rotation, rotate_signing_key
from service.audit.sequence import checkpoint_everything, sequence_audit
from service.cli.audit import verify_audit
from service.domain.audit.entry import decode_entry
from service.domain.audit.merkle import is_consistent
from service.domain.audit.signed_note import (
    SigningKey,
    is_signed_by,
    open_handover,
    open_logged_checkpoint,
    sign_checkpoint,
)
from service.domain.errors import Invalid
from service.store.anchors.file import FileAnchor
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.signed_log import StoredLog
from service.store.audit_log.signing_key import KEY_FILE, PUBLIC_KEY_FILE, SigningKeyUnusable, load_signing_key
from service.store.audit_log.tree import consistency_proof

ORIGIN = "expunge.example/log"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def rotate(engine: Engine, directory: Path) -> Rotation:
    return rotate_signing_key(engine, directory, ORIGIN, operator="ada")


def notes(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        return [row.note for row in connection.execute(text("SELECT note FROM audit_checkpoints ORDER BY size"))]


def events(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT entry FROM audit_leaves ORDER BY index"))
        return [decode_entry(bytes(row.entry))["event"] for row in rows]


def exported(engine: Engine, key: SigningKey, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "audit.jsonl"
    with path.open("wb") as out:
        export_audit(engine, key, out)
    return path


def test_the_log_goes_on_under_the_new_key_and_every_head_follows_from_the_one_before(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path, tmp_path: Path
) -> None:
    anchor = FileAnchor("place", tmp_path / "outside")
    writer.log(uuid4(), uuid4())
    checkpoint_everything(engine, signing_key)
    anchor_checkpoint(engine, signing_key, [anchor])
    rotation = rotate(engine, directory)
    new = load_signing_key(directory, ORIGIN)
    writer.log(uuid4())
    checkpoint_everything(engine, new)

    assert new.trusted == rotation.new != rotation.old == signing_key.trusted
    assert events(engine)[2:4] == ["signing_key_announced", "signing_key_taken"]
    heads = [open_logged_checkpoint(note, new.trusted) for note in notes(engine)]
    with engine.begin() as connection:
        for first, second in pairwise(heads):
            proof = consistency_proof(connection, first.size, second.size)
            assert is_consistent(first.size, first.root, second.size, second.root, proof)
    # The old key covers the announcement of the new one, so who trusts the old key is told by the log itself.
    assert rotation.size == 3
    assert open_handover(rotation.handover, rotation.old).key == rotation.new
    assert anchor.compare(StoredLog(engine, new.trusted)) is None
    assert anchor_checkpoint(engine, new, [anchor]).published == ("place",)


def test_the_export_verifies_with_the_new_key_and_with_no_other(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path, tmp_path: Path
) -> None:
    writer.log(uuid4())
    before = exported(engine, signing_key, tmp_path / "before")
    rotation = rotate(engine, directory)
    after = exported(engine, load_signing_key(directory, ORIGIN), tmp_path / "after")
    for path, key, code in (
        (before, rotation.old, 0),
        (after, rotation.new, 0),
        (before, rotation.new, 1),
        (after, rotation.old, 1),
    ):
        (tmp_path / "audit.pub").write_text(f"{key}\n")
        assert verify_audit.main([str(path), "--key", str(tmp_path / "audit.pub")]) == code


def test_a_process_that_holds_the_old_key_signs_with_the_new_one(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path
) -> None:
    writer.log(uuid4())
    rotation = rotate(engine, directory)
    writer.log(uuid4())
    note = sequence_audit(engine, signing_key, checkpoint_now=True).note
    assert note is not None
    assert f"— {ORIGIN} " in note
    assert open_logged_checkpoint(note, rotation.new).size == 4
    with pytest.raises(ValueError, match="not signed by"):
        open_logged_checkpoint(note, rotation.old)


def test_what_the_old_key_signs_later_is_not_built_upon(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path, tamper: Callable[..., None]
) -> None:
    """Whoever kept the old key signs a head beyond its end, rightly computed: it counts for nothing."""
    writer.log(uuid4())
    rotate(engine, directory)
    new = load_signing_key(directory, ORIGIN)
    head = open_logged_checkpoint(notes(engine)[-1], new.trusted)
    forged = sign_checkpoint(signing_key, head.size, head.root)
    tamper("UPDATE audit_checkpoints SET note = :note WHERE size = :size", note=forged, size=head.size)
    with pytest.raises(AuditLogBroken, match="checkpoint_not_ours"):
        sequence_audit(engine, new)


def test_several_rotations_leave_every_head_readable(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        writer.log(uuid4())
        checkpoint_everything(engine, load_signing_key(directory, ORIGIN))
        rotate(engine, directory)
    new = load_signing_key(directory, ORIGIN)
    assert len({each.key.fingerprint for each in new.trusted.retired} | {new.trusted.fingerprint}) == 4
    # The export opens every head that was ever signed.
    exported(engine, new, tmp_path / "out")


class DeathError(Exception):
    pass


@pytest.mark.parametrize("dies_in", ["prepare_next_key", "sign_handover", "take_next_key"])
def test_a_rotation_that_died_is_finished_by_repeating_it(
    engine: Engine,
    signing_key: SigningKey,
    writer: Any,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies_in: str,
) -> None:
    def die(*_: Any, **__: Any) -> Any:
        raise DeathError

    writer.log(uuid4())
    with monkeypatch.context() as patch:
        patch.setattr(rotation_module, dies_in, die)
        with pytest.raises(DeathError):
            rotate(engine, directory)
    # Meanwhile the log goes on under the old key.
    writer.log(uuid4())
    checkpoint_everything(engine, load_signing_key(directory, ORIGIN))
    rotation = rotate(engine, directory)
    writer.log(uuid4())
    checkpoint_everything(engine, load_signing_key(directory, ORIGIN))
    assert rotation.old == signing_key.trusted
    assert events(engine).count("signing_key_announced") == 1
    assert events(engine).count("signing_key_taken") == 1


def test_the_new_key_signs_a_head_of_its_own_at_the_sequencers_next_turn(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although nothing else was logged and no checkpoint is due: an auditor with the new key has something to open."""
    turns = []

    def die_at_the_last(*arguments: Any) -> Any:
        turns.append(arguments)
        if len(turns) == 3:
            raise DeathError
        return checkpoint_everything(*arguments)

    writer.log(uuid4())
    with monkeypatch.context() as patch:
        patch.setattr(rotation_module, "checkpoint_everything", die_at_the_last)
        with pytest.raises(DeathError):
            rotate(engine, directory)
    new = load_signing_key(directory, ORIGIN)
    assert new.trusted != signing_key.trusted
    assert sequence_audit(engine, new).note is not None
    assert is_signed_by(notes(engine)[-1], new.trusted)
    assert sequence_audit(engine, new).entries == 0


def test_a_rotation_that_died_between_its_two_files_is_finished_by_the_next_load(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path
) -> None:
    writer.log(uuid4())
    old_line = (directory / PUBLIC_KEY_FILE).read_bytes()
    rotation = rotate(engine, directory)
    (directory / PUBLIC_KEY_FILE).write_bytes(old_line)
    assert load_signing_key(directory, ORIGIN).trusted == rotation.new
    assert (directory / PUBLIC_KEY_FILE).read_text() == f"{rotation.new}\n"


def test_a_public_key_of_somebody_else_is_still_refused(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path, tmp_path: Path
) -> None:
    writer.log(uuid4())
    rotate(engine, directory)
    stranger = load_signing_key(tmp_path / "stranger", ORIGIN)
    (directory / PUBLIC_KEY_FILE).write_text(f"{stranger.trusted}\n")
    with pytest.raises(SigningKeyUnusable):
        load_signing_key(directory, ORIGIN)


def test_the_old_private_key_is_gone_and_the_new_one_is_ours_alone(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path
) -> None:
    writer.log(uuid4())
    old = (directory / KEY_FILE).read_bytes()
    rotate(engine, directory)
    assert all(old not in path.read_bytes() for path in directory.iterdir())
    assert (directory / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert not (directory / "audit.key.next").exists()


def test_nobody_in_particular_rotates_nothing(
    engine: Engine, signing_key: SigningKey, writer: Any, directory: Path
) -> None:
    writer.log(uuid4())
    with pytest.raises(Invalid):
        rotate_signing_key(engine, directory, ORIGIN, operator="Ada Byron")
    assert load_signing_key(directory, ORIGIN).trusted == signing_key.trusted
