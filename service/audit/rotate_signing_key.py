"""Give the audit log a new signing key, in an order in which every key's head follows from the one before.

The new key is announced by an entry that a head of the old key covers; then, with the sequencer locked out, the old key
is retired at that size and the new one taken; its own first head covers the entry that it was taken. The overlap: heads
of the old key stay good up to that size, here, at the anchors and for auditors, who get a handover note signed by both.
Whatever step the process dies in, repeating the command goes on from there; the log goes on in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from service.audit.sequence import checkpoint_everything, lock_sequencer
from service.domain.audit.signed_note import SigningKey, TrustedKey, sign_handover
from service.domain.errors import Invalid
from service.store.audit_log.checkpoints import last_checkpoint
from service.store.audit_log.heads import heads_of
from service.store.audit_log.record_change import log_event
from service.store.audit_log.signing_key import keep_handover, load_signing_key, prepare_next_key, take_next_key
from service.store.key_services.interface import KeyService
from service.store.locking import database_now


@dataclass(frozen=True)
class Rotation:
    """The keys before and after, where the old one ended, and the note that tells auditors."""

    old: TrustedKey
    new: TrustedKey
    size: int
    handover: str
    kept_at: Path


def rotate_signing_key(
    engine: Engine, directory: Path, origin: str, *, operator: str, service: KeyService | None = None
) -> Rotation:
    """Rotate, to a key of `service` if there is one: so a log moves from a file to a KMS.

    Raises Invalid for a name that can't stand in the log, AuditLogBroken, SigningKeyUnusable.
    """
    old = load_signing_key(directory, origin, service)
    checkpoint_everything(engine, old)
    following = prepare_next_key(directory, origin, service)
    with engine.begin() as connection:
        lock_sequencer(connection)
        _announce(connection, old, following, operator)
    checkpoint_everything(engine, old)
    with engine.begin() as connection:
        lock_sequencer(connection)
        last = last_checkpoint(connection, old.trusted)
        assert last is not None, "there is one over the announcement"
        size = last.checkpoint.size
        handover = sign_handover(old, following, size)
        path = keep_handover(directory, handover, upto_size=size)
        new = take_next_key(directory, old, upto_size=size, service=service)
    checkpoint_everything(engine, new)
    return Rotation(old.trusted, new.trusted, size, handover, path)


def _announce(connection: Connection, old: SigningKey, new: SigningKey, operator: str) -> None:
    fingerprint = new.trusted.fingerprint
    if heads_of(connection, [("signing_key", fingerprint)]):
        return
    try:
        log_event(
            connection,
            row="signing_key",
            key=fingerprint,
            event="signing_key_announced",
            actor=f"operator:{operator}",
            at=database_now(connection),
            data={"after": old.trusted.fingerprint},
        )
    except ValueError:
        raise Invalid("a name in lower case without spaces, such as ada.byron", field="operator") from None
