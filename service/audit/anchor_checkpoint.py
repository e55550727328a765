"""Publish the newest signed head to every anchor that doesn't have it yet, after comparing.

Decides that nothing is published over a disagreement, because that would hide it. An anchor that doesn't answer is
called again in the next turn; the store remembers the size that each anchor has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from service.audit.reconcile import Comparison, compare_with_anchors
from service.domain.audit.anchor import Anchor, AnchorUnreachable
from service.domain.audit.signed_note import SigningKey
from service.store.audit_log.signed_log import StoredLog, one_publisher, remember_published
from service.store.audit_log.troubles import keep_anchor_troubles


@dataclass(frozen=True)
class Anchoring:
    """One turn of publishing: the head's size, the anchors that took it, and the comparison before.

    `comparison`: None if no anchor lacked the head. `refused`: the code by the name of each anchor that couldn't be
    read or written in this turn.
    """

    size: int
    published: tuple[str, ...]
    comparison: Comparison | None
    refused: Mapping[str, str] = field(default_factory=dict)


def anchor_checkpoint(engine: Engine, signing_key: SigningKey, anchors: Sequence[Anchor]) -> Anchoring:
    """Publish the newest head, unless another process is publishing.

    Raises AuditLogBroken if the newest head isn't one that we signed.
    """
    log = StoredLog(engine, signing_key.trusted)
    head = log.newest()
    if head is None:
        return Anchoring(0, (), None)
    size = head.checkpoint.size
    if all(log.published(anchor.name) == size for anchor in anchors):
        keep_anchor_troubles(engine, {})
        return Anchoring(size, (), None)
    with one_publisher(engine, waits=False) as mine:
        if not mine:
            return Anchoring(size, (), None)
        return _publish(engine, signing_key, anchors, log)


def _publish(engine: Engine, signing_key: SigningKey, anchors: Sequence[Anchor], log: StoredLog) -> Anchoring:
    # Read again under the lock: another process may have published a newer head than the one seen before.
    head = log.newest()
    assert head is not None, "heads are never taken back"
    size = head.checkpoint.size
    behind = [anchor for anchor in anchors if log.published(anchor.name) != size]
    comparison = compare_with_anchors(engine, signing_key, behind, at_start=False)
    published = []
    refused = dict(comparison.unreachable)
    for anchor in behind:
        if anchor.name not in comparison.agree:
            continue
        try:
            anchor.publish(head, log)
        except AnchorUnreachable as error:
            refused[anchor.name] = error.code
            continue
        with engine.begin() as connection:
            remember_published(connection, anchor.name, size)
        published.append(anchor.name)
    keep_anchor_troubles(engine, refused)
    return Anchoring(size, tuple(published), comparison, refused)
