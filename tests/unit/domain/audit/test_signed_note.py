"""Notes and checkpoints against the published examples, and everything that must not pass."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.audit.signed_note import (
    Checkpoint,
    NoteRefused,
    SigningKey,
    TrustedKey,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    strict_base64,
)

# The example key and note of the reference implementation (golang.org/x/mod/sumdb/note; read 2026-11-22).
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PUBLISHED_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PUBLISHED_NOTE = PUBLISHED_TEXT + (
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ORIGIN = "expunge.example/log"


def key_named(name: str, seed: bytes = b"k") -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest()))


KEY = key_named(ORIGIN)
NOTE = sign_checkpoint(KEY, 3, hashlib.sha256(b"root").digest())


def test_the_published_key_signs_the_published_note() -> None:
    key = SigningKey("PeterNeumann", Ed25519PrivateKey.from_private_bytes(PUBLISHED_SEED))
    assert str(key.trusted) == PUBLISHED_KEY
    assert key.sign_note(PUBLISHED_TEXT) == PUBLISHED_NOTE


def test_the_published_note_opens_with_the_published_key() -> None:
    trusted = TrustedKey.parse(PUBLISHED_KEY)
    assert trusted.key_id.hex() == "c74f20a3"
    assert open_note(PUBLISHED_NOTE, trusted) == PUBLISHED_TEXT


def test_no_part_of_a_verifier_key_is_a_verifier_key() -> None:
    for start in range(len(PUBLISHED_KEY)):
        for end in range(start, len(PUBLISHED_KEY) + 1):
            if (start, end) != (0, len(PUBLISHED_KEY)):
                with pytest.raises(NoteRefused):
                    TrustedKey.parse(PUBLISHED_KEY[start:end])


def test_a_checkpoint_has_the_form_that_c2sp_prints() -> None:
    text, _, signature = NOTE.partition("\n\n")
    assert text == f"{ORIGIN}\n3\n{base64.b64encode(hashlib.sha256(b'root').digest()).decode()}"
    assert signature.startswith(f"— {ORIGIN} ")
    assert open_checkpoint(NOTE, KEY.trusted) == Checkpoint(ORIGIN, 3, hashlib.sha256(b"root").digest())


def test_every_flipped_bit_of_a_checkpoint_is_found() -> None:
    raw = NOTE.encode()
    for place in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[place // 8] ^= 1 << place % 8
        try:
            note = changed.decode()
        except UnicodeDecodeError:
            continue
        with pytest.raises(NoteRefused):
            open_checkpoint(note, KEY.trusted)


def test_another_key_of_the_same_name_is_refused() -> None:
    forged = sign_checkpoint(key_named(ORIGIN, b"other"), 3, hashlib.sha256(b"root").digest())
    with pytest.raises(NoteRefused, match="not signed by the trusted key"):
        open_checkpoint(forged, KEY.trusted)


def test_the_same_key_under_another_name_is_refused() -> None:
    with pytest.raises(NoteRefused):
        open_checkpoint(sign_checkpoint(key_named("other.example"), 3, bytes(32)), KEY.trusted)


def test_a_note_of_the_key_about_another_log_is_no_checkpoint_of_this_one() -> None:
    note = KEY.sign_note(Checkpoint("other.example", 3, bytes(32)).text())
    with pytest.raises(NoteRefused, match="another log"):
        open_checkpoint(note, KEY.trusted)


def test_a_witness_line_is_ignored_and_a_wrong_line_of_the_key_refuses_the_note() -> None:
    witness = key_named("witness.example", b"w").sign_note(NOTE.partition("\n\n")[0] + "\n").rpartition("\n\n")[2]
    assert open_checkpoint(NOTE + witness, KEY.trusted).size == 3
    assert open_checkpoint(NOTE.replace("\n\n", "\n\n" + witness), KEY.trusted).size == 3
    wrong = KEY.sign_note("something else\n").rpartition("\n\n")[2]
    with pytest.raises(NoteRefused, match="is wrong"):
        open_checkpoint(NOTE + wrong, KEY.trusted)
    with pytest.raises(NoteRefused):
        open_checkpoint(NOTE + witness * 16, KEY.trusted)


@pytest.mark.parametrize("size", ["03", "+3", "-1", "3 ", "", "٣", "9" * 5_000])
def test_a_size_has_one_spelling(size: str) -> None:
    note = KEY.sign_note(f"{ORIGIN}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n")
    with pytest.raises(NoteRefused):
        open_checkpoint(note, KEY.trusted)


@pytest.mark.parametrize("text", ["a\n3\nAAAA\n", "a\n3\n", f"{ORIGIN}\n3\n{'A' * 43}=\nextension\n"])
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        open_checkpoint(KEY.sign_note(text), KEY.trusted)


def test_base64_has_one_spelling() -> None:
    assert strict_base64("QQ==") == b"A"
    for other in ("QR==", "QQ", "QQ=", "QQ==\n", "Q Q==", "Q_=="):
        with pytest.raises(NoteRefused):
            strict_base64(other)


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "with\ttab", "with\u2003space"])
def test_a_key_name_that_the_format_forbids_is_refused(name: str) -> None:
    with pytest.raises(NoteRefused):
        TrustedKey(name, KEY.trusted.public_bytes)


def test_a_text_that_the_format_forbids_is_not_signed() -> None:
    for text in ("no newline", "control\x07\n"):
        with pytest.raises(NoteRefused):
            KEY.sign_note(text)


def test_a_signing_key_shows_nothing_of_itself() -> None:
    assert repr(KEY) == f"SigningKey('{ORIGIN}', id={KEY.trusted.key_id.hex()})"
