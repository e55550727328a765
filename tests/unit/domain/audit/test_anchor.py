"""Disagreements of the store's log and an anchor; the keys whose heads count, and their last size."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.audit.anchor import Disagreement, SignedHead, compare_with
from service.domain.audit.merkle import GrowingTree, assemble, leaf_hash, plan_consistency, root_of
from service.domain.audit.signed_note import (
    Checkpoint,
    NoteRefused,
    RetiredKey,
    SigningKey,
    TrustedKey,
    open_checkpoint,
    open_handover,
    open_logged_checkpoint,
    sign_checkpoint,
    sign_handover,
)

ORIGIN = "expunge.example/log"


def signing_key(*, retired: tuple[RetiredKey, ...] = (), name: str = ORIGIN) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.generate(), retired=retired)


OLD = signing_key()
KEY = signing_key(retired=(RetiredKey(OLD.trusted, 4),))


def leaves(size: int, flavour: str = "") -> list[bytes]:
    return [leaf_hash(f"{flavour}{n}".encode()) for n in range(size)]


def note_of(size: int, flavour: str = "", key: SigningKey = KEY) -> str:
    return sign_checkpoint(key, size, root_of(leaves(size, flavour)))


@dataclass
class FakeLog:
    """A log of `size` entries of which `signed` are under the newest head."""

    signed: int
    remembered: int = 0
    key: TrustedKey = field(default_factory=lambda: KEY.trusted)

    def newest(self) -> SignedHead | None:
        if not self.signed:
            return None
        note = note_of(self.signed)
        return SignedHead(note, open_checkpoint(note, KEY.trusted))

    def root_at(self, size: int) -> bytes:
        assert size <= self.signed
        return root_of(leaves(size))

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        tree, nodes = GrowingTree.empty(), {}
        for leaf in leaves(self.signed):
            nodes.update(dict(tree.append(leaf)))
        return assemble(plan_consistency(first, second), nodes)

    def trusted_key(self) -> TrustedKey:
        return self.key

    def published(self, anchor: str) -> int:
        assert anchor == "place"
        return self.remembered


def verdict(log: FakeLog, last: str | None) -> Disagreement | None:
    found = compare_with("place", lambda: last, log)
    if found is not None:
        assert found.anchor == "place"
    return None if found is None else found.code


@pytest.mark.parametrize(
    ("signed", "remembered", "last", "expected"),
    [
        (0, 0, None, None),
        (9, 0, None, None),
        (9, 9, note_of(9), None),
        (9, 5, note_of(7), None),
        (9, 7, note_of(7), None),
        (9, 4, note_of(4, key=OLD), None),
        (0, 0, note_of(1), Disagreement.STORE_BEHIND),
        (6, 6, note_of(7), Disagreement.STORE_BEHIND),
        (7, 0, note_of(7, "other"), Disagreement.OTHER_ROOT),
        (9, 0, note_of(7, "other"), Disagreement.OTHER_ROOT),
        (9, 9, None, Disagreement.ANCHOR_CUT),
        (9, 8, note_of(7), Disagreement.ANCHOR_CUT),
        (9, 9, "", Disagreement.NOT_OURS),
        (9, 9, note_of(9, key=signing_key()), Disagreement.NOT_OURS),
        (9, 9, note_of(9, key=signing_key(name="another/log")), Disagreement.NOT_OURS),
        (9, 5, note_of(5, key=OLD), Disagreement.NOT_OURS),
    ],
)
def test_the_head_that_was_published_last_must_be_one_of_ours_and_still_true(
    signed: int, remembered: int, last: str | None, expected: Disagreement | None
) -> None:
    assert verdict(FakeLog(signed, remembered), last) == expected


def test_a_newer_head_of_another_process_is_no_disagreement() -> None:
    """The anchor answers, then the other process publishes 9 and the store remembers it: 7 was true when it was read.

    Reversing the order of the questions in either direction would shut the gate of a healthy service.
    """
    log = FakeLog(signed=7, remembered=7)

    def answer_then_move_on() -> str:
        log.signed = log.remembered = 9
        return note_of(7)

    assert compare_with("place", answer_then_move_on, log) is None

    late = FakeLog(signed=7, remembered=7)

    def other_publishes_before_the_answer() -> str:
        late.signed = late.remembered = 9
        return note_of(9)

    assert compare_with("place", other_publishes_before_the_answer, late) is None


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_retired_keys_heads_count_up_to_its_end_and_not_beyond() -> None:
    assert open_logged_checkpoint(note_of(4, key=OLD), KEY.trusted).size == 4
    with pytest.raises(NoteRefused):
        open_logged_checkpoint(note_of(5, key=OLD), KEY.trusted)


def test_the_newest_head_that_we_vouch_for_is_never_opened_with_a_retired_key() -> None:
    with pytest.raises(NoteRefused):
        open_checkpoint(note_of(4, key=OLD), KEY.trusted)


def test_retired_keys_change_neither_a_keys_identity_nor_how_it_prints() -> None:
    bare = TrustedKey(KEY.trusted.name, KEY.trusted.public_bytes)
    assert (bare, str(bare), repr(bare)) == (KEY.trusted, str(KEY.trusted), repr(KEY.trusted))


def test_a_handover_leads_from_the_old_key_to_the_new_one() -> None:
    note = sign_handover(OLD, KEY, 4)
    assert open_handover(note, OLD.trusted) == RetiredKey(KEY.trusted, 4)


def test_every_changed_character_of_a_handover_is_refused() -> None:
    note = sign_handover(OLD, KEY, 4)
    for place, char in enumerate(note):
        changed = note[:place] + ("A" if char != "A" else "B") + note[place + 1 :]
        with pytest.raises(NoteRefused):
            open_handover(changed, OLD.trusted)


@pytest.mark.parametrize("signers", [(OLD,), (KEY,)])
def test_a_handover_needs_both_signatures(signers: tuple[SigningKey, ...]) -> None:
    text = sign_handover(OLD, KEY, 4).rpartition("\n\n")[0] + "\n"
    note = signers[0].sign_note(text)
    with pytest.raises(NoteRefused):
        open_handover(note, OLD.trusted)


def test_a_checkpoint_is_no_handover_and_a_handover_no_checkpoint() -> None:
    with pytest.raises(NoteRefused):
        open_handover(note_of(4, key=OLD), OLD.trusted)
    with pytest.raises(NoteRefused):
        Checkpoint.parse(sign_handover(OLD, KEY, 4).rpartition("\n\n")[0] + "\n")


def test_a_handover_of_another_old_key_is_refused() -> None:
    stranger = signing_key()
    with pytest.raises(NoteRefused):
        open_handover(sign_handover(stranger, KEY, 4), OLD.trusted)
