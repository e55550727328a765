"""Anchors and their comparison with the log, the rule behind "no vendor call until reconciled".

An anchor is a place that the database's owner can't rewrite together with the database. It keeps the published heads
of the log in the order of their publication. Decides the kind of a disagreement. Doesn't decide where heads are stored
(store.anchors) or what follows from a disagreement (audit.reconcile).

The comparison uses the head that was published *last*, not the largest one, because after a human accepted a restored
store, the store's smaller head is published after the larger one, and both stay visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.domain.audit.signed_note import Checkpoint, NoteRefused, TrustedKey, open_logged_checkpoint


class Disagreement(StrEnum):
    """The kinds of disagreement between the store's log and an anchor."""

    STORE_BEHIND = "store_behind_anchor"
    """The anchor has the head of a larger log: the store was restored from an older state, or truncated."""
    OTHER_ROOT = "other_root_at_anchored_size"
    """The first entries aren't the anchored ones: they were rewritten."""
    ANCHOR_CUT = "anchor_lost_a_head"
    """The store recorded the publication of a larger head there: the anchor was truncated."""
    NOT_OURS = "anchored_head_not_ours"
    """The head that was published last isn't signed by a key of this log."""
    LOG_BROKEN = "stored_log_broken"
    """The store's own checkpoints, nodes or entries contradict each other, so no comparison is possible."""


@dataclass(frozen=True)
class Conflict:
    """One disagreement with one anchor. `detail` holds sizes only."""

    anchor: str
    code: Disagreement
    detail: str


@dataclass(frozen=True)
class SignedHead:
    """A head of the log with its signed note."""

    note: str
    checkpoint: Checkpoint


class AnchorUnreachable(Exception):  # noqa: N818 - says what is true of the anchor
    """The anchor couldn't be read or written. Holds a code, never an address or an answer's text."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class SignedLog(Protocol):
    """The anchor's view of the store's log.

    Each call opens a short transaction of its own, so that none is open during a call of an anchor.
    """

    def newest(self) -> SignedHead | None:
        """Return the newest signed head; None before the first."""

    def root_at(self, size: int) -> bytes:
        """Return the root over the first `size` entries; `size` is at most the newest head's."""

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the RFC 6962 consistency proof between two sizes."""

    def trusted_key(self) -> TrustedKey:
        """Return the key that signs now, together with the retired keys."""

    def published(self, anchor: str) -> int:
        """Return the recorded size of the head that was last published to this anchor; 0 for none."""


class Anchor(Protocol):
    """One anchor. `name` is a code that rows, metrics and messages use."""

    @property
    def name(self) -> str:
        """Return the name, unique among this installation's anchors."""

    def compare(self, log: SignedLog) -> Conflict | None:
        """Compare the store's log with the last published head; return their disagreement, if any.

        Raises AnchorUnreachable.
        """

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Store a head durably before returning; the same head twice is stored once. Raises AnchorUnreachable.

        The caller has called `compare` before. `over`: a human decided that this head follows the last published one
        in spite of a disagreement.
        """


def compare_with(anchor: str, read_last: Callable[[], str | None], log: SignedLog) -> Conflict | None:
    """Compare the store's log with an anchor's last note; return their disagreement, if any.

    `read_last` returns None for an empty anchor. The order of reading matters, because another process may publish
    meanwhile: first the store's record of the publication, then the anchor, then the log. Raises the errors of
    `read_last`.
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
