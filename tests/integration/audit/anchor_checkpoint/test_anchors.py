"""Each kind of anchor keeps what it was given, in order, and shows a log that was cut, restored or rewritten."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from service.audit.anchor_checkpoint import anchor_checkpoint
from service.audit.sequence import checkpoint_everything
from service.domain.audit.anchor import Anchor, AnchorUnreachable, Disagreement
from service.domain.audit.signed_note import NoteRefused, SigningKey
from service.store.anchors.file import HEADS_FILE, FileAnchor
from service.store.anchors.git import GitAnchor
from service.store.anchors.timestamp import TimestampAnchor
from service.store.anchors.witness import WitnessAnchor, WitnessKey
from service.store.audit_log.signed_log import StoredLog, one_publisher
from tests.company import Company
from tests.integration.audit.stand_ins import Authority, Witness
from workers.tasks import control

URL = "http://127.0.0.1:9/anchor"
Grow = Callable[[int], None]


@pytest.fixture
def grow(engine: Engine, signing_key: SigningKey, writer: Any) -> Grow:
    """Logs entries and signs a head over them."""

    def log(entries: int) -> None:
        writer.log(*[uuid4() for _ in range(entries)])
        checkpoint_everything(engine, signing_key)

    return log


def witness_for(key: SigningKey) -> Witness:
    return Witness(key.trusted.name, key.trusted.public_bytes)


@pytest.fixture(params=["file", "git", "git_remote", "timestamp", "witness"])
def anchor(request: pytest.FixtureRequest, tmp_path: Path, signing_key: SigningKey) -> Anchor:
    if request.param == "file":
        return FileAnchor("place", tmp_path / "outside")
    if request.param == "git":
        return GitAnchor("place", tmp_path / "outside.git")
    if request.param == "git_remote":
        remote = tmp_path / "remote.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
        return GitAnchor("place", tmp_path / "clone.git", str(remote))
    if request.param == "timestamp":
        authority = Authority()
        return TimestampAnchor("place", tmp_path / "tokens", URL, [authority.root], transport=authority.transport())
    witness = witness_for(signing_key)
    return WitnessAnchor("place", URL, WitnessKey.parse(witness.verifier_key), transport=witness.transport())


def publish(engine: Engine, key: SigningKey, *anchors: Anchor) -> tuple[str, ...]:
    return anchor_checkpoint(engine, key, anchors).published


def verdict(engine: Engine, key: SigningKey, anchor: Anchor) -> Disagreement | None:
    conflict = anchor.compare(StoredLog(engine, key.trusted))
    return None if conflict is None else conflict.code


def cut(tamper: Callable[..., None], size: int) -> None:
    """The log as it was at `size`, with what the store remembered of its anchors then: a restored backup."""
    tamper("DELETE FROM audit_leaves WHERE index >= :size", size=size)
    tamper("DELETE FROM audit_nodes WHERE (index + 1) << level > :size", size=size)
    tamper("DELETE FROM audit_checkpoints WHERE size > :size", size=size)
    tamper("UPDATE anchored_heads SET size = :size WHERE size > :size", size=size)
    tamper("DELETE FROM audit_heads WHERE version > 1 OR TRUE")


# --- what every kind does ---------------------------------------------------------------------------------------------


def test_heads_are_published_once_and_agree(
    engine: Engine, signing_key: SigningKey, grow: Grow, anchor: Anchor
) -> None:
    assert publish(engine, signing_key, anchor) == ()
    for entries in (3, 4, 1):
        grow(entries)
        assert verdict(engine, signing_key, anchor) is None
        assert publish(engine, signing_key, anchor) == ("place",)
        assert publish(engine, signing_key, anchor) == ()
        assert verdict(engine, signing_key, anchor) is None


def test_a_store_restored_from_an_older_state_is_noticed(
    engine: Engine, signing_key: SigningKey, grow: Grow, anchor: Anchor, tamper: Callable[..., None]
) -> None:
    grow(3)
    publish(engine, signing_key, anchor)
    grow(4)
    publish(engine, signing_key, anchor)
    cut(tamper, 3)
    assert verdict(engine, signing_key, anchor) == Disagreement.STORE_BEHIND


def test_a_suffix_rewritten_and_signed_with_the_real_key_is_noticed(
    engine: Engine, signing_key: SigningKey, grow: Grow, anchor: Anchor, tamper: Callable[..., None]
) -> None:
    """Every stored hash and signature is right. Only the anchor knows that another log was shown before."""
    grow(3)
    publish(engine, signing_key, anchor)
    grow(4)
    publish(engine, signing_key, anchor)
    cut(tamper, 3)
    grow(4)
    assert verdict(engine, signing_key, anchor) == Disagreement.OTHER_ROOT
    grow(5)
    assert verdict(engine, signing_key, anchor) == Disagreement.OTHER_ROOT
    assert publish(engine, signing_key, anchor) == ()


# --- file -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file_anchor(tmp_path: Path) -> FileAnchor:
    return FileAnchor("place", tmp_path / "outside")


def lines(anchor_directory: Path) -> list[bytes]:
    return (anchor_directory / HEADS_FILE).read_bytes().splitlines()


def test_a_torn_line_is_passed_over_and_stays(
    engine: Engine, signing_key: SigningKey, grow: Grow, file_anchor: FileAnchor, tmp_path: Path
) -> None:
    grow(2)
    publish(engine, signing_key, file_anchor)
    with (tmp_path / "outside" / HEADS_FILE).open("ab") as file:
        file.write(b'"half a li')
    grow(2)
    assert verdict(engine, signing_key, file_anchor) is None
    assert publish(engine, signing_key, file_anchor) == ("place",)
    first, torn, last = lines(tmp_path / "outside")
    assert torn == b'"half a li'
    assert [json.loads(line).split("\n")[1] for line in (first, last)] == ["2", "4"]


def test_the_file_is_only_ever_appended_to(
    engine: Engine, signing_key: SigningKey, grow: Grow, file_anchor: FileAnchor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    real = os.open

    def watched(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if str(path).endswith(HEADS_FILE):
            opened.append(flags)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", watched)
    grow(2)
    publish(engine, signing_key, file_anchor)
    assert opened
    assert all(flags & os.O_APPEND and not flags & os.O_TRUNC for flags in opened)


def test_a_shortened_file_is_noticed(
    engine: Engine, signing_key: SigningKey, grow: Grow, file_anchor: FileAnchor, tmp_path: Path
) -> None:
    for entries in (2, 3):
        grow(entries)
        publish(engine, signing_key, file_anchor)
    path = tmp_path / "outside" / HEADS_FILE
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert verdict(engine, signing_key, file_anchor) == Disagreement.ANCHOR_CUT
    path.unlink()
    assert verdict(engine, signing_key, file_anchor) == Disagreement.ANCHOR_CUT


def test_a_line_of_somebody_elses_is_noticed(
    engine: Engine, signing_key: SigningKey, grow: Grow, file_anchor: FileAnchor, tmp_path: Path
) -> None:
    grow(2)
    publish(engine, signing_key, file_anchor)
    with (tmp_path / "outside" / HEADS_FILE).open("ab") as file:
        file.write(b'"a note of nobody"\n')
    assert verdict(engine, signing_key, file_anchor) == Disagreement.NOT_OURS


def test_a_directory_that_cannot_be_used_is_unreachable_not_empty(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("a file where the directory should be")
    anchor = FileAnchor("place", tmp_path / "outside")
    grow(2)
    with pytest.raises(AnchorUnreachable):
        anchor.compare(StoredLog(engine, signing_key.trusted))
    assert publish(engine, signing_key, anchor) == ()


# --- git --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True)
    subprocess.run(["git", "--git-dir", str(path), "config", "receive.denyNonFastForwards", "true"], check=True)
    return path


def log_of(repository: Path) -> list[str]:
    done = subprocess.run(
        ["git", "--git-dir", str(repository), "log", "--format=%s", "audit-heads"], capture_output=True, check=True
    )
    return done.stdout.decode().splitlines()


def test_every_head_is_a_commit_at_the_remote(
    engine: Engine, signing_key: SigningKey, grow: Grow, remote: Path, tmp_path: Path
) -> None:
    anchor = GitAnchor("place", tmp_path / "clone.git", str(remote))
    for entries in (2, 3):
        grow(entries)
        publish(engine, signing_key, anchor)
    assert log_of(remote) == ["audit log at 5", "audit log at 2"]


def test_a_local_clone_that_was_put_back_does_not_speak_for_the_remote(
    engine: Engine, signing_key: SigningKey, grow: Grow, remote: Path, tmp_path: Path, tamper: Callable[..., None]
) -> None:
    grow(2)
    publish(engine, signing_key, GitAnchor("place", tmp_path / "clone.git", str(remote)))
    grow(3)
    publish(engine, signing_key, GitAnchor("place", tmp_path / "other.git", str(remote)))
    cut(tamper, 2)
    stale = GitAnchor("place", tmp_path / "clone.git", str(remote))
    assert verdict(engine, signing_key, stale) == Disagreement.STORE_BEHIND


def test_a_remote_that_is_away_is_unreachable_and_says_no_address(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path
) -> None:
    anchor = GitAnchor("place", tmp_path / "clone.git", str(tmp_path / "user:secret@nowhere.git"))
    grow(2)
    with pytest.raises(AnchorUnreachable) as caught:
        anchor.compare(StoredLog(engine, signing_key.trusted))
    assert "secret" not in str(caught.value)
    assert "nowhere" not in str(caught.value)


# --- time-stamps ------------------------------------------------------------------------------------------------------


def test_a_token_over_something_else_is_not_kept(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path
) -> None:
    authority = Authority(lies=True)
    anchor = TimestampAnchor("place", tmp_path / "tokens", URL, [authority.root], transport=authority.transport())
    grow(2)
    assert publish(engine, signing_key, anchor) == ()
    assert authority.calls == 1
    assert list((tmp_path / "tokens").glob("*")) == []


def test_a_token_of_an_authority_that_is_not_believed_is_not_kept(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path
) -> None:
    authority = Authority()
    anchor = TimestampAnchor("place", tmp_path / "tokens", URL, [Authority().root], transport=authority.transport())
    grow(2)
    assert publish(engine, signing_key, anchor) == ()


@pytest.mark.parametrize("kind", ["note", "tsr"])
def test_an_exchanged_note_or_token_is_noticed(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path, kind: str
) -> None:
    authority = Authority()
    anchor = TimestampAnchor("place", tmp_path / "tokens", URL, [authority.root], transport=authority.transport())
    for entries in (2, 3):
        grow(entries)
        publish(engine, signing_key, anchor)
    first, second = sorted((tmp_path / "tokens").glob(f"*.{kind}"))
    second.write_bytes(first.read_bytes())
    assert verdict(engine, signing_key, anchor) == Disagreement.NOT_OURS


# --- witness ----------------------------------------------------------------------------------------------------------


def test_a_head_published_before_the_process_died_is_caught_up_with_a_proof(
    engine: Engine, signing_key: SigningKey, grow: Grow, tamper: Callable[..., None]
) -> None:
    witness = witness_for(signing_key)
    anchor = WitnessAnchor("place", URL, WitnessKey.parse(witness.verifier_key), transport=witness.transport())
    for entries in (2, 3):
        grow(entries)
        publish(engine, signing_key, anchor)
    tamper("UPDATE anchored_heads SET size = 2")
    grow(6)
    assert publish(engine, signing_key, anchor) == ("place",)
    assert witness.size == 11


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_a_witness_that_refuses_has_kept_nothing(
    engine: Engine, signing_key: SigningKey, grow: Grow, status: int
) -> None:
    witness = witness_for(signing_key)
    witness.refuses = status
    anchor = WitnessAnchor("place", URL, WitnessKey.parse(witness.verifier_key), transport=witness.transport())
    grow(2)
    with pytest.raises(AnchorUnreachable, match=f"witness_status_{status}"):
        anchor.compare(StoredLog(engine, signing_key.trusted))
    assert publish(engine, signing_key, anchor) == ()


def test_an_answer_without_the_witnesss_own_cosignature_counts_for_nothing(
    engine: Engine, signing_key: SigningKey, grow: Grow
) -> None:
    witness, other = witness_for(signing_key), witness_for(signing_key)
    grow(2)
    believed = WitnessKey.parse(other.verifier_key)
    anchor = WitnessAnchor("place", URL, believed, transport=witness.transport())
    assert publish(engine, signing_key, anchor) == ()
    witness = witness_for(signing_key)
    witness.silent = True
    anchor = WitnessAnchor("place", URL, WitnessKey.parse(witness.verifier_key), transport=witness.transport())
    assert publish(engine, signing_key, anchor) == ()


def test_a_logs_key_is_no_witness_key(signing_key: SigningKey) -> None:
    with pytest.raises(NoteRefused):
        WitnessKey.parse(str(signing_key.trusted))


# --- several ----------------------------------------------------------------------------------------------------------


def test_one_that_is_away_does_not_keep_the_others_from_being_published_to(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("")
    away, here = FileAnchor("away", tmp_path / "blocked"), FileAnchor("here", tmp_path / "here")
    grow(2)
    turn = anchor_checkpoint(engine, signing_key, [away, here])
    assert turn.published == ("here",)
    assert turn.comparison is not None
    assert [name for name, _ in turn.comparison.unreachable] == ["away"]
    (tmp_path / "blocked").unlink()
    assert publish(engine, signing_key, away, here) == ("away",)


def test_nothing_is_ever_published_over_a_disagreement(
    engine: Engine, signing_key: SigningKey, grow: Grow, tmp_path: Path, tamper: Callable[..., None]
) -> None:
    anchor = FileAnchor("place", tmp_path / "outside")
    grow(5)
    publish(engine, signing_key, anchor)
    cut(tamper, 0)
    grow(9)
    before = lines(tmp_path / "outside")
    assert publish(engine, signing_key, anchor) == ()
    assert lines(tmp_path / "outside") == before
    with engine.begin() as connection:
        found = connection.execute(text("SELECT anchor, code FROM anchor_conflicts WHERE accepted_at IS NULL")).all()
    assert [tuple(row) for row in found] == [("place", Disagreement.OTHER_ROOT)]


def test_one_process_publishes_at_a_time(
    engine: Engine, signing_key: SigningKey, grow: Grow, file_anchor: FileAnchor, tmp_path: Path
) -> None:
    """Else an older head could come behind a newer one, which reads as a restored store."""
    grow(2)
    with one_publisher(engine, waits=True):
        assert publish(engine, signing_key, file_anchor) == ()
    assert publish(engine, signing_key, file_anchor) == ("place",)


def test_the_workers_publish_what_the_sequencer_signed(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "runtime", lambda: company.runtime)
    assert control.anchor.run() == 0
    control.sequence.run()
    assert control.anchor.run() == 1
    assert control.anchor.run() == 0
