"""Create and revoke API keys. A key's token is shown once; only its hash is stored.

Decides the lifetime of a key. Doesn't decide what a scope opens: each route declares it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from service.access.store import NewKey, insert_key, lock_key, write_revocation
from service.domain.access.api_key import PREFIX_BYTES, SECRET_BYTES, PresentedKey, Scope, hash_secret
from service.domain.audit.schema import instant_text
from service.domain.errors import Invalid, NotFound, WrongState
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.locking import database_now
from service.store.stores import Stores

LONGEST_LIFE = timedelta(days=400)
MAX_NAME_CHARACTERS = 100


@dataclass(frozen=True)
class CreatedKey:
    """A new key. `token` is the whole of it, to be shown once."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    expires_at: datetime
    token: str = field(repr=False)


def create_key(stores: Stores, *, name: str, scopes: Collection[Scope], life: timedelta, actor: str) -> CreatedKey:
    """Create a key that works from now until its end. Raises Invalid."""
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise Invalid(f"a name of 1 to {MAX_NAME_CHARACTERS} printable characters", field="/name")
    if not scopes:
        raise Invalid("at least one scope", field="/scopes")
    if not timedelta(0) < life <= LONGEST_LIFE:
        raise Invalid(f"a key lives at most {LONGEST_LIFE.days} days", field="/days")
    new = PresentedKey.from_entropy(secrets.token_bytes(PREFIX_BYTES), secrets.token_bytes(SECRET_BYTES))
    key_id, ordered = uuid4(), tuple(scope.value for scope in Scope if scope in scopes)
    with stores.engine.begin() as connection:
        now = database_now(connection)
        insert_key(connection, NewKey(key_id, name, new.prefix, hash_secret(new.secret), ordered, now, now + life))
        data = {"roles": list(ordered), "expires_at": instant_text(now + life)}
        change = Change("key", str(key_id), Version(), "key_created", None, data)
        log_changes(connection, [change], actor=actor, at=now)
    return CreatedKey(key_id, name, new.prefix, ordered, now + life, new.token())


def revoke_key(stores: Stores, *, prefix: str, actor: str) -> None:
    """Revoke the key with this prefix. Raises NotFound; WrongState if it was revoked before."""
    with stores.engine.begin() as connection:
        key = lock_key(connection, prefix)
        if key is None:
            raise NotFound("there is no key with this prefix")
        if key.revoked_at is not None:
            raise WrongState("the key was revoked already")
        now = database_now(connection)
        change = Change("key", str(key.id), key.version, "key_revoked")
        write_revocation(connection, key.id, now)
        log_changes(connection, [change], actor=actor, at=now)
