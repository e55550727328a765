"""Hold the open things of a worker: settings, stores, one connector per system, the identity source.

They are made after the fork, on first use, and aren't shared between processes or threads.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import structlog

from connectors.base.config import ConfigurationError
from connectors.base.identity_source import IdentitySource, Neighbours
from connectors.base.interface import Connector
from connectors.base.pacing import RateLimit
from connectors.base.registry import connector_class
from connectors.base.values import Identifier
from service.audit.reconcile import admit
from service.domain.audit.anchor import Anchor
from service.domain.audit.signed_note import SigningKey
from service.execution.database_clock import DatabaseClock
from service.execution.systems.availability import live_workers
from service.execution.systems.rate_limiter import RateGate
from service.execution.systems.rate_windows import SharedWindows
from service.execution.systems.throttle import Throttle
from service.settings import Settings
from service.store import interlock
from service.store.anchors.configured import configured_anchors
from service.store.audit_log.signing_key import SigningKeyUnusable
from service.store.bootstrap import open_identity_graph, server_url
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.secrets import audit_signing_key
from service.store.stores import Stores

log = structlog.get_logger(__name__)

_COMPARE_AGAIN_SECONDS = 5.0
_ADMITTED_SECONDS = 10.0


class NoIdentityGraph:
    """An empty identity graph, used if none is configured: only submitted identifiers count."""

    def neighbours(
        self, identifiers: Collection[Identifier], *, max_neighbours: int
    ) -> Mapping[Identifier, Neighbours]:
        """Nothing is known of anybody."""
        return {}

    def close(self) -> None:
        """Nothing to give back."""


class WorkerContext:
    """The open things of one thread of one worker process."""

    def __init__(self, settings: Settings, stores: Stores, queues: Sequence[str] = ()) -> None:
        """`queues`: where other systems' nudges wait for this worker."""
        self.settings = settings
        self.stores = stores
        self.clock = DatabaseClock(stores.engine)
        self._queues = tuple(queues)
        self._gate: RateGate | None = None
        self._throttles: dict[str, Throttle] = {}
        self._connectors: dict[str, Connector] = {}
        self._source: IdentitySource | None = None
        self._signing_key: SigningKey | None = None
        self._anchors: tuple[Anchor, ...] | None = None
        self._admission: UUID | None = None
        self._admitted_at = 0.0
        self._compared_at: float | None = None
        self._keys_checked_at: float | None = None

    def connector(self, system: str) -> Connector:
        """The connector instance of one system. Raises KeyError for a system that isn't configured here."""
        if system not in self._connectors:
            config = replace(self.settings.system(system).config, pacer=self.throttle(system))
            self._connectors[system] = connector_class(config.connector)(config)
        return self._connectors[system]

    def rate_limits(self, system: str) -> tuple[RateLimit, ...]:
        """Return the rate limits of a system. Raises KeyError for a system that isn't configured here."""
        config = self.settings.system(system).config
        return connector_class(config.connector).limits(config)

    @property
    def gate(self) -> RateGate:
        """The rate gate; on its own, with a share of each limit, where no broker is known."""
        if self._gate is None:
            try:
                shared = SharedWindows(server_url(self.settings, "broker_url"))
            except ConfigurationError:
                shared = None
            self._gate = RateGate(shared, lambda: live_workers(self.stores, self.settings))
        return self._gate

    def throttle(self, system: str) -> Throttle:
        """Return the throttle of a system. Raises KeyError for a system that isn't configured here."""
        if system not in self._throttles:
            limits = [r for r in self.rate_limits(system) if not r.is_long and not r.per_subject]
            self._throttles[system] = Throttle(system, limits, self.gate, lambda: self.is_wanted(system))
        return self._throttles[system]

    def is_wanted(self, system: str) -> bool:
        """True if another system waits for this worker while it works on that one."""
        return bool(self._queues) and self.gate.is_nudged(self._queues, besides=system)

    def identity_source(self) -> IdentitySource:
        """The configured identity graph."""
        if self._source is None:
            self._source = open_identity_graph(self.settings) or NoIdentityGraph()
        return self._source

    def signing_key(self) -> SigningKey:
        """The audit log's signing key, as it is now."""
        if self._signing_key is None:
            self._signing_key = audit_signing_key(self.settings)
        self._signing_key = self._signing_key.current()
        return self._signing_key

    def anchors(self) -> tuple[Anchor, ...]:
        """The places that keep the audit log's heads."""
        if self._anchors is None:
            self._anchors = configured_anchors(self.settings)
        return self._anchors

    def admission(self) -> UUID | None:
        """Return this thread's admission to lease work; None while the store disagrees with an anchor.

        Compared on first use, and again when the store doesn't know the newest admission, because it was restored then.
        """
        now = time.monotonic()
        if not self._keys_are_there(now):
            return None
        if self._admission is not None:
            with self.stores.engine.begin() as connection:
                if now - self._admitted_at >= _ADMITTED_SECONDS:
                    self._admission, self._admitted_at = interlock.renew_admission(connection, self._admission), now
                if self._admission is not None and not interlock.is_engaged(connection, self._admission):
                    return self._admission
            self._admission = None
        if self._compared_at is None or now - self._compared_at >= _COMPARE_AGAIN_SECONDS:
            self._compared_at = now
            try:
                self._admission, self._admitted_at = admit(self.stores.engine, self.signing_key(), self.anchors()), now
            except SigningKeyUnusable as error:
                # Without the key this process can't tell our heads from others; it compares again in a moment.
                log.error("vendor_calls_stopped", reason="signing_key_unusable", why=str(error))  # noqa: TRY400
            else:
                if self._admission is None:
                    log.error("vendor_calls_stopped", reason="not_reconciled_with_anchors")
        return self._admission

    def _keys_are_there(self, now: float) -> bool:
        """Return False while an epoch key is missing or unusable.

        Then no work is leased, so that no step fails for it.
        """
        if self._keys_checked_at is None or now - self._keys_checked_at >= _ADMITTED_SECONDS:
            try:
                self.stores.keys.check()
            except EpochKeyUnusable:
                log.error("vendor_calls_stopped", reason="epoch_key_unusable")  # noqa: TRY400 - its text names a path
                return False
            self._keys_checked_at = now
        return True

    def close(self) -> None:
        """Give everything back."""
        for connector in self._connectors.values():
            connector.close()
        if self._gate is not None:
            self._gate.close()
        if self._source is not None:
            self._source.close()
        self.stores.close()
