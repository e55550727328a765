"""What an anchor is, and when the store's log disagrees with one: the rule behind "no vendor call until reconciled".

An anchor is a place that the database's owner can't rewrite together with the database, and that keeps the heads which
were published there, in the order in which they were. Decides what a disagreement is called. Doesn't decide where the
heads are kept (store.anchors), nor what follows (audit.reconcile).

The head that was published *last* counts, not the largest: after a human accepted a restored store, the store's own
head is published behind the larger one, and both stay visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.domain.audit.signed_note import Checkpoint, NoteRefused, TrustedKey, open_logged_checkpoint


class Disagreement(StrEnum):
    """How the store's log and an anchor disagree."""

    STORE_BEHIND = "store_behind_anchor"
    """The anchor has seen a larger log: the store was restored from an older state, or cut."""
    OTHER_ROOT = "other_root_at_anchored_size"
    """The first entries aren't those that were anchored: history was rewritten."""
    ANCHOR_CUT = "anchor_lost_a_head"
    """The store knows that more was published there: somebody shortened the anchor."""
    NOT_OURS = "anchored_head_not_ours"
    """What was published last isn't signed by a key of this log."""
    LOG_BROKEN = "stored_log_broken"
    """The store's own checkpoints, nodes or entries don't agree, so there is nothing to compare."""


@dataclass(frozen=True)
class Conflict:
    """One disagreement with one anchor. `detail` holds sizes only."""

    anchor: str
    code: Disagreement
    detail: str


@dataclass(frozen=True)
class SignedHead:
    """A head of the log with the note that says so."""

    note: str
    checkpoint: Checkpoint


class AnchorUnreachable(Exception):  # noqa: N818 - says what is true of the anchor
    """The anchor couldn't be asked or written. Says a code, never an address or an answer's text."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class SignedLog(Protocol):
    """The store's log as an anchor may ask about it. Each call is short: no transaction is open while anchors speak."""

    def newest(self) -> SignedHead | None:
        """The newest signed head; None before the first."""

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` entries, `size` at most the newest head's."""

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """The RFC 6962 consistency proof between two sizes."""

    def trusted_key(self) -> TrustedKey:
        """The key that signs now, with those that signed before."""

    def published(self, anchor: str) -> int:
        """The size of the head that the store remembers to have published there last; 0 for none."""


class Anchor(Protocol):
    """One place outside. `name` is a code; it stands in rows, metrics and messages."""

    @property
    def name(self) -> str:
        """Unique among this installation's anchors."""

    def compare(self, log: SignedLog) -> Conflict | None:
        """Where the store's log disagrees with what was published here last. Raises AnchorUnreachable."""

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Keep a head, durably before returning; the same head twice is kept once. Raises AnchorUnreachable.

        The caller compared before. `over` is a human's word that this head follows whatever was published last.
        """


def compare_with(anchor: str, read_last: Callable[[], str | None], log: SignedLog) -> Conflict | None:
    """Compare the store's log with the note that an anchor got last; None stands for an anchor that has nothing.

    Asked in this order, since another process may publish meanwhile: what the store remembers, the anchor, the log.
    Raises what `read_last` raises.
    """
    published = log.published(anchor)
    last_note = read_last()
    if last_note is None:
        return Conflict(anchor, Disagreement.ANCHOR_CUT, f"nothing, store {published}") if published else None
    try:
        anchored = open_logged_checkpoint(last_note, log.trusted_key())
    except NoteRefused:
        return Conflict(anchor, Disagreement.NOT_OURS, f"store {published}")
    newest = log.newest()
    size = newest.checkpoint.size if newest else 0
    if size < anchored.size:
        return Conflict(anchor, Disagreement.STORE_BEHIND, f"anchor {anchored.size}, store {size}")
    if log.root_at(anchored.size) != anchored.root:
        return Conflict(anchor, Disagreement.OTHER_ROOT, f"size {anchored.size}")
    if anchored.size < published:
        return Conflict(anchor, Disagreement.ANCHOR_CUT, f"anchor {anchored.size}, store {published}")
    return None
