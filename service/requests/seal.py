"""Seal a request: when every step ended and the key's retention is over, its data key is destroyed.

The key is destroyed first: if the process dies in between, the action is still due and the rest is repeated. Keyed
hashes of every frozen identifier and record id stay, so that "did you delete me?" can still be answered. A person under
a legal hold isn't sealed: what we hold of them is evidence too.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from connectors.base.transitions.states import ENDED
from service.requests.holds.active import held_requests
from service.requests.identity.explanations import delete_explanation
from service.requests.identity.store import destroy_values
from service.requests.records.changes import seal
from service.requests.records.rows import request_change
from service.requests.records.schedule import postpone
from service.requests.records.store import due_to_seal, lock_request
from service.requests.steps.read import lock_steps
from service.requests.steps.schedule import destroy_records
from service.store.encryption.key_store import request_owner
from service.store.locking import database_now
from service.store.stores import Stores

_ASK_AGAIN_WHILE_HELD = timedelta(hours=1)


def seal_due_requests(stores: Stores, *, limit: int = 100) -> int:
    """Seal all requests whose time has come. Returns how many."""
    with stores.engine.begin() as connection:
        ids = due_to_seal(connection, limit)
    for request_id in ids:
        seal_request(stores, request_id)
    return len(ids)


def seal_request(stores: Stores, request_id: UUID) -> None:
    """Destroy the request's key, then empty every sealed value.

    Allowed only after every step has ended and no hold is left.
    """
    with stores.engine.begin() as connection:
        request = lock_request(connection, request_id)
        steps = lock_steps(connection, [request_id])[request_id]
        if request.next_action != "seal" or any(s.state not in ENDED for s in steps):
            return
        now = database_now(connection)
        if held_requests(connection, [request_id]):
            postpone(connection, request_id, now + _ASK_AGAIN_WHILE_HELD)
            return
        stores.keys.destroy([request_owner(request_id)])
        destroy_values(connection, request_id)
        delete_explanation(connection, request_id)
        destroy_records(connection, request_id)
        seal(connection, request_change(request, "request_sealed"), actor="worker", at=now)
