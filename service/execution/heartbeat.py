"""Hold a lease while the connector works: renew it and save the connector's resume token.

A renewal returns the steps that must stop. Everything raises LeaseLost as soon as another worker holds the batch.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

import structlog
from sqlalchemy import Text, Uuid, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.errors import LeaseLost
from connectors.base.transitions.states import LOOK_PHASES
from service.audit.evidence_standing import effects_stopped
from service.domain.requests.states import WITHDRAWN_STATES
from service.execution import batches
from service.execution.lease import LeasedBatch
from service.requests.holds.active import held_requests
from service.requests.imports.paused import PAUSED_IMPORTS
from service.settings import BELIEVED_SHARE_OF_A_LEASE, Settings
from service.store import interlock
from service.store.arrays import array_parameter, uuid_array
from service.store.encryption.key_store import batch_owner
from service.store.encryption.sealing import seal
from service.store.execute import execute
from service.store.stores import Stores
from service.store.tables.requests import RequestRow

log = structlog.get_logger(__name__)


class HeldLease:
    """The lease during one connector call: a thread renews it three times per lease.

    `may_proceed` never asks the database. A process that was suspended, or that can't reach the database, stops
    believing in its lease before another worker may take the batch.
    """

    def __init__(self, stores: Stores, settings: Settings, leased: LeasedBatch) -> None:
        self._stores = stores
        self._settings = settings
        self._leased = leased
        self._token = leased.resume_token
        self._length = settings.engine.lease_seconds
        self._believed_until = leased.asked_at + self._length * BELIEVED_SHARE_OF_A_LEASE
        self._stopped: frozenset[str] = frozenset()
        self._lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @property
    def resume_token(self) -> bytes | None:
        """The token that was saved last for this batch."""
        return self._token

    def save(self, resume_token: bytes) -> None:
        """Store the token durably before returning. Raises LeaseLost."""
        self._check()
        save_resume_token(self._stores, self._leased, resume_token)
        self._token = resume_token

    def may_proceed(self, ref: str) -> bool:
        """False for a person who is held or whose request was withdrawn. Raises LeaseLost."""
        self._check()
        return ref not in self._stopped

    def still_held(self) -> frozenset[str]:
        """Return the refs on which no effect may start any more, as of the last renewal. Raises LeaseLost."""
        self._check()
        return self._stopped

    def _check(self) -> None:
        if self._lost or time.monotonic() >= self._believed_until:
            raise LeaseLost

    def _renew(self) -> None:
        while not self._over.wait(self._length / 3):
            asked_at = time.monotonic()
            try:
                self._stopped = renew_lease(self._stores, self._settings, self._leased)
            except LeaseLost:
                self._lost = True
                return
            except SQLAlchemyError as error:
                # The lease may still be ours; without an answer in time `may_proceed` stops believing in it.
                log.warning("lease_not_renewed", batch=str(self._leased.id), error=type(error).__name__)
                continue
            self._believed_until = asked_at + self._length * BELIEVED_SHARE_OF_A_LEASE

    def __enter__(self) -> HeldLease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def renew_lease(stores: Stores, settings: Settings, leased: LeasedBatch) -> frozenset[str]:
    """Renew for another full length. Returns the refs of people on whom no effect may start any more.

    Raises LeaseLost.
    """
    with stores.engine.begin() as connection:
        renewed = batches.renew(connection, leased.id, leased.fence, settings.engine.lease_seconds)
        # A pass that goes on when a disagreement with an anchor is found ends at its next renewal.
        if not renewed or interlock.is_engaged(connection):
            raise LeaseLost
        if leased.phase in LOOK_PHASES:
            return frozenset()
        if effects_stopped(connection, settings):
            return frozenset(step.ref for step in leased.steps)
        request_ids = [step.request_id for step in leased.steps]
        stopped = held_requests(connection, request_ids)
        values = {"ids": uuid_array(request_ids), "states": sorted(WITHDRAWN_STATES)}
        stopped |= {row.id for row in execute(connection, _STOPPED, values).all()}
    return frozenset(step.ref for step in leased.steps if step.request_id in stopped)


_STOPPED = select(RequestRow.id).where(
    RequestRow.id == func.any(array_parameter("ids", Uuid())),
    or_(
        RequestRow.state == func.any(array_parameter("states", Text())),
        RequestRow.import_id.in_(PAUSED_IMPORTS),
    ),
)


def save_resume_token(stores: Stores, leased: LeasedBatch, token: bytes) -> None:
    """Store the connector's token, sealed under the batch's own key. Raises LeaseLost."""
    owner = batch_owner(leased.id)
    key = stores.keys.create([owner])[owner]
    sealed = seal(key, token, f"batch/{leased.id}")
    with stores.engine.begin() as connection:
        saved = batches.write_resume_token(connection, leased.id, leased.fence, sealed)
    if not saved:
        _discard_key_of_ended(stores, leased)
        raise LeaseLost


def _discard_key_of_ended(stores: Stores, leased: LeasedBatch) -> None:
    """The batch may have ended, and its key been destroyed, before this process made the key once more."""
    with stores.engine.begin() as connection:
        is_open = batches.is_open(connection, leased.id)
    if not is_open:
        stores.keys.destroy([batch_owner(leased.id)])
