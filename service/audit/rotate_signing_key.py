"""Replace the audit log's signing key; each key's heads follow from those of the key before.

First an entry announces the new key, and a head of the old key covers that entry. Then, with the sequencer locked out,
the old key is retired at that size and the new key becomes the log's. The new key's first head covers the entry
`signing_key_taken`. Heads of the old key stay valid up to that size: here, at the anchors and for auditors, who get a
handover note that both keys signed. If the process dies in any step, a repetition of the command continues from there,
and the log works meanwhile.
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
    """The keys before and after, the size at which the old one ended, and the note for auditors."""

    old: TrustedKey
    new: TrustedKey
    size: int
    handover: str
    kept_at: Path


def rotate_signing_key(
    engine: Engine, directory: Path, origin: str, *, operator: str, service: KeyService | None = None
) -> Rotation:
    """Rotate, to a key of `service` if there is one, so that a log can be moved from a file to a KMS.

    Raises Invalid for a name that the log can't hold, AuditLogBroken, SigningKeyUnusable.
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
