"""The lease as a connector sees it: renewed in the background by the calling process, asked before each effect.

Decides when we stop believing in our own lease: a process that was suspended, or cut off from the database, must not go
on acting on people whom somebody else works on by now.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

import structlog
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.errors import LeaseLost
from service.execution.heartbeat import renew_lease, save_resume_token
from service.execution.lease import LeasedBatch
from service.settings import BELIEVED_SHARE_OF_A_LEASE, Settings
from service.store.stores import Stores

log = structlog.get_logger(__name__)


class HeldLease:
    """A context manager around one vendor pass. Renews three times per lease; `may_proceed` never asks the database."""

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
        """What was saved last under this batch key."""
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
        """The people who must not be touched any more, as known now. Raises LeaseLost."""
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
