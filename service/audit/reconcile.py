"""Compare the store's log with every anchor, and engage the safety interlock where they disagree.

The log is compared at each start and before each new head is published. A database that was restored from an older
state, or rewritten, has other heads than the anchors: it lacks later erasures, holds and suppressions, so that no
vendor may be called for it (I11). Only a named human releases the interlock, after repairing what the lost part of the
log recorded; that decision is an entry of the log, and the store's head is published after the anchors' own. One anchor
that agrees is enough if none disagrees and the others don't answer; if none answers, the interlock is engaged until one
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Engine

from service.audit.sequence import checkpoint_everything
from service.domain.audit.anchor import Anchor, AnchorUnreachable, Conflict, Disagreement, SignedHead
from service.domain.audit.signed_note import SigningKey, open_logged_checkpoint
from service.domain.errors import Invalid
from service.store import interlock
from service.store.audit_log.findings import AuditLogBroken, keep_findings
from service.store.audit_log.record_change import log_event
from service.store.audit_log.signed_log import StoredLog, one_publisher, remember_published
from service.store.interlock import OpenConflict, accept_conflicts, admit_process, open_conflicts
from service.store.locking import database_now


@dataclass(frozen=True)
class Comparison:
    """The anchors that agree, the disagreements, and the anchors that didn't answer (name, code)."""

    agree: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    unreachable: tuple[tuple[str, str], ...]


def compare_with_anchors(
    engine: Engine, signing_key: SigningKey, anchors: Sequence[Anchor], *, at_start: bool = True
) -> Comparison:
    """Compare with every anchor, and engage the interlock for each disagreement.

    No transaction is open while the anchors are called. If no anchor answers, the interlock is engaged at the start
    only: later the log was compared before, and requests are processed.
    """
    log = StoredLog(engine, signing_key.trusted)
    agree: list[str] = []
    conflicts: list[Conflict] = []
    unreachable: list[tuple[str, str]] = []
    for anchor in anchors:
        try:
            conflict = anchor.compare(log)
        except AnchorUnreachable as error:
            unreachable.append((anchor.name, error.code))
        except AuditLogBroken as broken:
            keep_findings(engine, broken)
            conflicts.append(Conflict(anchor.name, Disagreement.LOG_BROKEN, broken.code))
        else:
            conflicts += [conflict] if conflict else []
            agree += [] if conflict else [anchor.name]
    with engine.begin() as connection:
        interlock.engage(connection, conflicts)
        if agree or conflicts:
            interlock.end_missing_comparison(connection)
        elif at_start:
            interlock.engage_until_compared(connection)
    return Comparison(tuple(agree), tuple(conflicts), tuple(unreachable))


def admit(engine: Engine, signing_key: SigningKey, anchors: Sequence[Anchor]) -> UUID | None:
    """Compare, and admit this process to vendor work if the interlock isn't engaged.

    Returns None if the process must not lease anything.
    """
    compare_with_anchors(engine, signing_key, anchors)
    with engine.begin() as connection:
        return None if interlock.is_engaged(connection) else admit_process(connection)


def accept_restored_store(
    engine: Engine, signing_key: SigningKey, anchors: Sequence[Anchor], *, operator: str
) -> list[OpenConflict]:
    """Accept the store as it is, by a named human's decision. Returns the conflicts that are still open.

    The decision is logged, signed, and published over the head of each anchor; only then the interlock is released. If
    the process dies before, the disagreement is found again. Raises Invalid for a name that the log can't hold,
    AuditLogBroken if the store's own log is broken, because that can't be accepted.
    """
    actor = f"operator:{operator}"
    with engine.begin() as connection:
        standing = open_conflicts(connection)
        now = database_now(connection)
        for conflict in standing:
            try:
                log_event(
                    connection,
                    row="reconciliation",
                    key=str(uuid4()),
                    event="restored_store_accepted",
                    actor=actor,
                    at=now,
                    data={"anchor": conflict.anchor, "conflict": conflict.code},
                )
            except ValueError:
                raise Invalid("a name in lower case without spaces, such as ada.byron", field="operator") from None
    if not standing:
        return []
    note = checkpoint_everything(engine, signing_key)
    trusted = signing_key.current().trusted
    head = SignedHead(note, open_logged_checkpoint(note, trusted))
    with one_publisher(engine, waits=True):
        done = _publish_over(engine, StoredLog(engine, trusted), head, anchors, {c.anchor for c in standing})
    with engine.begin() as connection:
        accept_conflicts(connection, sorted(done), actor)
        return open_conflicts(connection)


def _publish_over(
    engine: Engine, log: StoredLog, head: SignedHead, anchors: Sequence[Anchor], disagreeing: set[str]
) -> set[str]:
    """Return the anchors that have the head now, and those that aren't configured any more."""
    done = disagreeing - {anchor.name for anchor in anchors}
    for anchor in anchors:
        if anchor.name not in disagreeing:
            continue
        try:
            anchor.publish(head, log, over=True)
        except AnchorUnreachable:
            continue
        with engine.begin() as connection:
            remember_published(connection, anchor.name, head.checkpoint.size)
        done.add(anchor.name)
    return done
