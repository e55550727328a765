"""The offline verifier: every single bit, every line, every foreign key; and that it stands on its own."""

import ast
import base64
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.cli.audit import verify_audit
from service.cli.audit.verify_audit import Broken, Key, Unusable, main
from service.domain.audit.canonical_json import encode_canonical
from service.domain.audit.merkle import leaf_hash, root_of
from service.domain.audit.signed_note import SigningKey, sign_checkpoint, sign_handover
from tests.unit.cli.small_log import (
    EXPORT,
    LOG,
    ORIGIN,
    SIGNER,
    TRUSTED,
    certificate,
    certified,
    entry_of,
    export_of,
    lines_of,
    resigned,
    signing_key,
    small_log,
    verdict,
    with_members,
)


def test_a_sound_export_is_verified() -> None:
    assert verdict(EXPORT).startswith("5 entries of 2 objects\ncheckpoint 5 ")


def test_an_empty_log_is_verified() -> None:
    assert verdict(export_of([])).startswith("0 entries")


def test_every_single_flipped_bit_of_an_export_is_found() -> None:
    accepted = []
    for place in range(len(EXPORT) * 8):
        changed = bytearray(EXPORT)
        changed[place // 8] ^= 1 << place % 8
        try:
            verdict(bytes(changed))
        except Broken:
            continue
        accepted.append(place)
    assert accepted == []


def test_every_flipped_bit_of_the_key_file_is_found() -> None:
    line = str(SIGNER.trusted).encode()
    for place in range(len(line) * 8):
        changed = bytearray(line)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises((Broken, Unusable, UnicodeDecodeError)):
            verdict(EXPORT, Key(changed.decode()))


def test_dropped_doubled_swapped_and_cut_lines_are_found() -> None:
    lines = lines_of(EXPORT)
    changed = []
    for place in range(len(lines)):
        changed.append([*lines[:place], *lines[place + 1 :]])
        changed.append([*lines[: place + 1], *lines[place:]])
        for other in range(place + 1, len(lines)):
            swapped = list(lines)
            swapped[place], swapped[other] = lines[other], lines[place]
            changed.append(swapped)
    assert len(changed) == 2 * 7 + 21
    for content in changed:
        with pytest.raises(Broken):
            verdict(b"".join(content))


def test_an_export_cut_anywhere_is_found() -> None:
    for length in range(len(EXPORT)):
        with pytest.raises(Broken):
            verdict(EXPORT[:length])


@pytest.mark.parametrize("tail", [b"\n", b" ", b"{}\n", b"\x00", EXPORT])
def test_anything_behind_the_checkpoint_is_found(tail: bytes) -> None:
    with pytest.raises(Broken, match="line 7: nothing may follow"):
        verdict(EXPORT + tail)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"index":1', b'"index": 1'),
        lambda line: line.replace(b'"index":1', b'"index":1.0'),
        lambda line: line.replace(b'"index":1', b'"index":true'),
        lambda line: line.replace(b'"index":1', b'"index":01'),
        lambda line: line.replace(b'"index":1', b'"index":1,"index":1'),
        lambda line: line.replace(b'"index":1', b'"index":1,"note":1'),
        lambda line: line.replace(b"worker", b"\\u0077orker"),
        lambda line: line.replace(b"\n", b"\r\n"),
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: b"\n" + line,
        lambda line: b"[" * 100_000 + b"\n",
        lambda line: b" " * 2_000_000 + line,
    ],
)
def test_a_line_in_another_spelling_is_found(change: Callable[[bytes], bytes]) -> None:
    lines = lines_of(EXPORT)
    changed = change(lines[2])
    assert changed != lines[2]
    with pytest.raises(Broken, match="line 3"):
        verdict(b"".join([*lines[:2], changed, *lines[3:]]))


def test_an_export_signed_by_another_key_is_refused_even_under_our_name() -> None:
    forged = export_of(small_log(), signing_key(b"other"))
    with pytest.raises(Broken, match="another key"):
        verdict(forged)
    same_id = sign_checkpoint(signing_key(b"other"), 5, bytes(32)).replace("— ", "— ", 1)
    claimed = base64.b64encode(SIGNER.trusted.key_id + base64.b64decode(same_id.split(" ")[-1])[4:]).decode()
    with pytest.raises(Broken, match="signature"):
        verdict(export_of(small_log(), note=" ".join([*same_id.split(" ")[:-1], claimed]) + "\n"))


def test_a_key_inside_the_export_is_never_trusted() -> None:
    other = signing_key(b"other")
    key_line = encode_canonical({"key": str(other.trusted)}) + b"\n"
    forged = lines_of(export_of(small_log(), other))
    header = encode_canonical(json.loads(forged[0]) | {"key": str(other.trusted)}) + b"\n"
    for content in ([header, *forged[1:]], [forged[0], key_line, *forged[1:]], [*forged, key_line]):
        with pytest.raises(Broken):
            verdict(b"".join(content))


def test_an_older_checkpoint_of_the_same_log_does_not_cover_more_entries() -> None:
    log = small_log()
    older = sign_checkpoint(SIGNER, 4, root_of(map(leaf_hash, log[:4])))
    with pytest.raises(Broken, match="over 4 entries, the export has 5"):
        verdict(export_of(log, note=older))
    assert verdict(export_of(log[:4], note=older))


def test_a_checkpoint_of_another_log_under_the_same_key_is_refused() -> None:
    root = base64.b64encode(root_of(map(leaf_hash, small_log()))).decode()
    with pytest.raises(Broken, match="isn't one of this log"):
        verdict(export_of(small_log(), note=SIGNER.sign_note(f"other.example\n5\n{root}\n")))


def test_a_signed_root_of_another_length_is_no_root() -> None:
    with pytest.raises(Broken, match="line 7, root: not of the length of a hash"):
        verdict(export_of(LOG, note=SIGNER.sign_note(f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n")))


def test_a_second_signature_line_is_an_extra_line() -> None:
    witness = signing_key(b"w", "witness.example").sign_note("x\n").rpartition("\n\n")[2]
    note = json.loads(lines_of(EXPORT)[-1])["checkpoint"]
    with pytest.raises(Broken):
        verdict(export_of(small_log(), note=note + witness))


@pytest.mark.parametrize(
    "header",
    [
        {"size": 4},
        {"size": 6},
        {"size": True},
        {"size": "5"},
        {"origin": "other.example"},
        {"format": "x"},
        {"more": 1},
    ],
)
def test_a_header_that_says_something_else_is_found(header: dict[str, Any]) -> None:
    with pytest.raises(Broken):
        verdict(export_of(small_log(), header=header))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([LOG[0], LOG[1], LOG[3]], "line 4: expected version 2"),
        ([LOG[0], LOG[0]], "line 3: expected version 2"),
        ([LOG[2]], "line 2: expected version 1"),
        ([with_members(LOG[0], version=True)], "line 2: expected version 1"),
        ([LOG[0], with_members(LOG[2], previous="ab" * 32)], "line 3: `previous` isn't the hash"),
        ([LOG[0], with_members(LOG[2], previous=None)], "line 3: `previous` isn't the hash"),
        ([with_members(LOG[0], previous="ab" * 32)], "line 2: `previous` isn't the hash"),
        ([with_members(LOG[0], at="2026-11-22T11:30:00Z")], "line 2: `at` isn't an instant"),
        ([with_members(LOG[0], at="2026-02-30T11:30:00.000000Z")], "line 2: `at` isn't an instant"),
        ([with_members(LOG[0], at=5)], "line 2: `at` isn't an instant"),
        ([with_members(LOG[0], format=2)], "line 2: not an audit entry"),
        ([with_members(LOG[0], more=1)], "line 2: expected exactly the members"),
        ([with_members(LOG[0], actor=1)], "line 2: actor, event"),
        ([with_members(LOG[0], data=[])], "line 2: data or subject"),
        ([b"5"], "line 2: expected exactly the members"),
        ([LOG[0].replace(b'"reason":"r"', b'"reason":1.5')], "line 2: not the canonical encoding"),
        ([LOG[0].replace(b'"reason":"r"', b'"reason":NaN')], "line 2: not the canonical encoding"),
    ],
)
def test_a_log_that_was_signed_but_is_not_sound_is_found(entries: list[bytes], message: str) -> None:
    """The signer's own key doesn't help: dropped, doubled and unchained entries show."""
    with pytest.raises(Broken) as broken:
        verdict(export_of(entries))
    assert message in str(broken.value)


def test_a_changed_entry_is_found_although_everything_else_was_made_to_fit() -> None:
    """The Tessera #629 case: leaf data edited, hashes and signature left as they were."""
    note = json.loads(lines_of(EXPORT)[-1])["checkpoint"]
    edited = [*LOG[:4], with_members(LOG[4], actor="scheduler")]
    with pytest.raises(Broken, match="isn't the signed one"):
        verdict(export_of(edited, note=note))


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", cwd / "verify_audit.py", *arguments]
    return subprocess.run([str(each) for each in command], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_one_file_works_alone_in_another_directory(tmp_path: Path) -> None:
    (tmp_path / "verify_audit.py").write_bytes(Path(verify_audit.__file__).read_bytes())
    (tmp_path / "audit.jsonl").write_bytes(EXPORT)
    (tmp_path / "certificate.json").write_bytes(certificate())
    (tmp_path / "audit.pub").write_text(f"{SIGNER.trusted}\n")
    for arguments in (["audit.jsonl"], ["--certificate", "certificate.json"]):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert SIGNER.trusted.fingerprint in done.stdout
        assert "VERIFIED" in done.stdout


def test_the_file_imports_only_the_standard_library_and_cryptography() -> None:
    tree = ast.parse(Path(verify_audit.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    (tmp_path / "audit.jsonl").write_bytes(EXPORT)
    (tmp_path / "audit.pub").write_text(f"{SIGNER.trusted}\n")
    return tmp_path / "audit.jsonl"


def test_exit_codes(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(evidence)]) == 0
    evidence.write_bytes(EXPORT.replace(b"worker", b"broker", 1))
    assert main([str(evidence)]) == 1
    assert "BROKEN     line 4: `previous` isn't the hash of version 1" in capsys.readouterr().out
    assert main([str(evidence.with_name("missing.jsonl"))]) == 2
    assert main([]) == 2
    assert main([str(evidence), "--certificate", str(evidence)]) == 2
    with pytest.raises(SystemExit) as usage:
        main(["--unknown"])
    assert usage.value.code == 2


def test_a_key_that_cannot_be_used_is_no_verdict(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = evidence.with_name("audit.pub")
    for content in ("", "nonsense\n", f"{SIGNER.trusted}", f"{SIGNER.trusted}\n{SIGNER.trusted}\n"):
        public.write_text(content)
        assert main([str(evidence)]) == 2
    public.unlink()
    assert main([str(evidence)]) == 2
    assert "VERIFIED" not in capsys.readouterr().out


def test_a_key_given_by_hand_wins_over_the_one_beside_the_file(evidence: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(f"{signing_key(b'other').trusted}\n")
    assert main([str(evidence), "--key", str(other)]) == 1


# --- a log over rotations, verified with the first key and the notes ------------------------------------------------

SECOND, THIRD = signing_key(b"second"), signing_key(b"third")


def handed(*notes: str, first: SigningKey = SIGNER) -> Key:
    key = Key(str(first.trusted))
    for note in notes:
        key.follow(note)
    return key


FIRST_NOTE, SECOND_NOTE = sign_handover(SIGNER, SECOND, 2), sign_handover(SECOND, THIRD, 4)


def test_a_log_over_two_rotations_verifies_with_the_first_key_and_the_notes() -> None:
    key = handed(FIRST_NOTE, SECOND_NOTE)
    for size, signer in ((2, SIGNER), (3, SECOND), (4, SECOND), (5, THIRD)):
        assert verdict(export_of(LOG[:size], signer), key).startswith(f"{size} entries")
        with pytest.raises(Broken, match="another key"):
            verdict(export_of(LOG[:size], signer), THIRD_ALONE if signer is not THIRD else TRUSTED)


THIRD_ALONE = Key(str(THIRD.trusted))


@pytest.mark.parametrize(
    ("size", "signer"), [(3, SIGNER), (5, SIGNER), (2, SECOND), (5, SECOND), (4, THIRD), (5, signing_key(b"other"))]
)
def test_a_key_signs_only_between_its_own_notes(size: int, signer: SigningKey) -> None:
    """A retired key signs nothing beyond its end, and a new key nothing from before."""
    with pytest.raises(Broken, match="another key"):
        verdict(export_of(LOG[:size], signer), handed(FIRST_NOTE, SECOND_NOTE))


@pytest.mark.parametrize(
    "notes",
    [
        [SECOND_NOTE],
        [SECOND_NOTE, FIRST_NOTE],
        [FIRST_NOTE, FIRST_NOTE],
        [FIRST_NOTE, sign_handover(SECOND, THIRD, 2)],
        [sign_handover(SECOND, SIGNER, 2)],
        [sign_handover(SIGNER, signing_key(b"x", "other.example"), 2)],
        [SIGNER.sign_note(FIRST_NOTE.partition("\n\n")[0] + "\n")],
        [FIRST_NOTE + "x"],
        [FIRST_NOTE.replace("\n2\n", "\n3\n")],
        [FIRST_NOTE.replace("\n2\n", "\n-2\n")],
        [SIGNER.sign_note("expunge.example/log\n2\nx\n")],
        [""],
    ],
)
def test_a_note_that_is_not_from_the_newest_trusted_key_is_refused(notes: list[str]) -> None:
    with pytest.raises((Broken, Unusable)):
        handed(*notes)


def test_every_flipped_bit_of_a_note_is_found() -> None:
    line = FIRST_NOTE.encode()
    for place in range(len(line) * 8):
        changed = bytearray(line)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises((Broken, Unusable, UnicodeDecodeError)):
            handed(changed.decode())


def test_a_certificate_signed_by_the_new_key_over_an_old_head_verifies() -> None:
    body = json.loads(certificate(LOG[:2], [0]))
    assert certified(resigned(body, SECOND), handed(FIRST_NOTE)).startswith("certificate of 1")
    with pytest.raises(Broken, match="trusted key"):
        certified(resigned(body, SECOND))


def test_notes_are_given_on_the_command_line(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence.write_bytes(export_of(LOG, SECOND))
    note = evidence.with_name("note.txt")
    note.write_text(FIRST_NOTE)
    assert main([str(evidence)]) == 1
    assert main([str(evidence), "--handover", str(note)]) == 0
    assert SECOND.trusted.fingerprint in capsys.readouterr().out
    assert main([str(evidence), "--handover", str(note.with_name("missing"))]) == 2
    note.write_text(SECOND_NOTE)
    assert main([str(evidence), "--handover", str(note)]) == 1


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Each entry is of an object of its own here, the dearest case: what is known of each is on disk."""
    objects = (entry_of(f"{number:08x}-0b5d-4c1e-9a77-3d1f5b2c8e90", 1, None).encode() for number in range(3_000))
    content = export_of(list(objects))
    # The least of three: threads that other tests left in this process allocate, too.
    assert min(peak_of_verifying(content) for _ in range(3)) < 100_000


def peak_of_verifying(content: bytes) -> int:
    tracemalloc.start()
    try:
        assert verdict(content).startswith("3000 entries of 3000 objects")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
