"""Keep a lease while the calling process works: renew it, save the connector's resume token under it.

A renewal brings back whose work must stop. Both fail with LeaseLost as soon as somebody else holds the batch.
"""

from __future__ import annotations

from sqlalchemy import exists, select, text

from connectors.base.errors import LeaseLost
from service.audit.evidence_standing import effects_stopped
from service.domain.execution.states import Phase
from service.execution.lease import LeasedBatch
from service.requests.holds.active import held_requests
from service.requests.imports.paused import HALTED_IMPORTS
from service.settings import Settings
from service.store import interlock
from service.store.encryption.key_store import batch_owner
from service.store.encryption.sealing import seal
from service.store.stores import Stores
from service.store.tables.work import BatchRow


def renew_lease(stores: Stores, settings: Settings, leased: LeasedBatch) -> frozenset[str]:
    """Renew for another full length. Returns the refs of people on whom no effect may start any more.

    Raises LeaseLost.
    """
    with stores.engine.begin() as connection:
        renewed = connection.execute(
            text(
                "UPDATE batches SET lease_until = clock_timestamp() + make_interval(secs => :lease)"
                " WHERE id = :id AND fence = :fence AND ended_at IS NULL AND lease_until > clock_timestamp()"
            ),
            {"lease": settings.engine.lease_seconds, "id": leased.id, "fence": leased.fence},
        ).rowcount
        # A pass that goes on when a disagreement with an anchor is found ends at its next renewal.
        if not renewed or interlock.is_engaged(connection):
            raise LeaseLost
        if leased.phase in (Phase.LOCATE, Phase.CONFIRM):
            return frozenset()
        if effects_stopped(connection, settings):
            return frozenset(step.ref for step in leased.steps)
        request_ids = [step.request_id for step in leased.steps]
        stopped = held_requests(connection, request_ids)
        withdrawn_or_halted = connection.execute(
            text(
                "SELECT r.id FROM requests r WHERE r.id = ANY(CAST(:ids AS uuid[]))"  # noqa: S608 - our own words
                f" AND (r.state IN ('denied', 'revoked') OR r.import_id IN ({HALTED_IMPORTS}))"
            ),
            {"ids": request_ids},
        )
        stopped |= {row.id for row in withdrawn_or_halted}
    return frozenset(step.ref for step in leased.steps if step.request_id in stopped)


def save_resume_token(stores: Stores, leased: LeasedBatch, token: bytes) -> None:
    """Store the connector's token, sealed under a key of the batch's own, before returning. Raises LeaseLost."""
    owner = batch_owner(leased.id)
    key = stores.keys.create([owner])[owner]
    sealed = seal(key, token, f"batch/{leased.id}")
    with stores.engine.begin() as connection:
        saved = connection.execute(
            text(
                "UPDATE batches SET resume_token = :token"
                " WHERE id = :id AND fence = :fence AND ended_at IS NULL AND lease_until > clock_timestamp()"
            ),
            {"token": sealed, "id": leased.id, "fence": leased.fence},
        ).rowcount
    if not saved:
        _discard_key_of_ended(stores, leased)
        raise LeaseLost


def _discard_key_of_ended(stores: Stores, leased: LeasedBatch) -> None:
    """The batch may have ended, and its key been destroyed, before this process made the key once more."""
    with stores.engine.begin() as connection:
        is_open = connection.execute(
            select(exists().where(BatchRow.id == leased.id, BatchRow.ended_at.is_(None)))
        ).scalar_one()
    if not is_open:
        stores.keys.destroy([batch_owner(leased.id)])
