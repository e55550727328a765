"""Read a system's changes page by page, and record the erased people that appear in it again.

Goes on while the lease and the worker's time last. No transaction is open while the system is called. Decides when it
is called again after an error: the cursor stays, so that no change is skipped, and a credential without visibility is
an error like any other.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, LeaseLost
from connectors.base.values import ChangePage
from service.domain.execution.retry_policy import decide
from service.execution.systems.admit import Slot, admit_read_only
from service.execution.systems.availability import record_call
from service.execution.worker_context import WorkerContext
from service.suppression.match_changes import PageMovedOn, record_changes
from service.suppression.scan_schedule import (
    LeasedSync,
    Waited,
    give_back_sync,
    lease_sync,
    postpone_sync,
    waits_that_are_over,
)

log = structlog.get_logger(__name__)

_NO_DEADLINE = timedelta(days=365)
_PAGES_AGAIN = 5


class _Failed(Exception):  # noqa: N818 - carries what the system said
    def __init__(self, error: ConnectorError) -> None:
        super().__init__(error.code)
        self.error = error


def sync_system(context: WorkerContext, system: str, *, admission: UUID | None, stay_seconds: float) -> int:
    """Read pages of one system. Returns how many requests were opened."""
    slot = admit_read_only(context, system)
    if slot is None:
        return 0
    try:
        leased = lease_sync(context.stores, system, admission=admission)
        return 0 if leased is None else _sync(context, slot, leased, stay_seconds)
    finally:
        slot.release(None)


def _sync(context: WorkerContext, slot: Slot, leased: LeasedSync, stay_seconds: float) -> int:
    until = time.monotonic() + stay_seconds
    opened = 0
    try:
        again = waits_that_are_over(context.stores, leased.system, limit=_PAGES_AGAIN)
        for waited in again:
            changes = _read(context, slot, leased.system, waited.cursor, waited.begin_at)
            opened += _record(context, leased, changes, waited)
        cursor, begin_at, more = leased.cursor, leased.begin_at, True
        while more:
            changes = _read(context, slot, leased.system, cursor, begin_at)
            opened += _record(context, leased, changes, None)
            leased = leased.at(changes.cursor)
            cursor, more = changes.cursor, changes.more and time.monotonic() < until
    except LeaseLost:
        log.warning("sync_lease_lost", system=leased.system)
        return opened
    except PageMovedOn:
        postpone_sync(context.stores, leased, seconds=0.0, error=None)
        return opened
    except _Failed as failed:
        _postpone(context, leased, failed.error)
        return opened
    if len(again) == _PAGES_AGAIN:
        # There may be more of them: they don't wait for the next regular time.
        postpone_sync(context.stores, leased, seconds=0.0, error=None)
    else:
        give_back_sync(context.stores, leased)
    return opened


def _read(context: WorkerContext, slot: Slot, system: str, cursor: str | None, begin_at: datetime) -> ChangePage:
    """Read one page. Raises _Failed; the system's health is recorded as after any pass."""
    connector, throttle = context.connector(system), context.throttle(system)
    result: ChangePage | ConnectorError
    with throttle.run(0, None, slot.quota) as summarise:
        try:
            result = operations.changed_since(connector, cursor, begin_at)
        except ConnectorError as error:
            result = error
        except Exception as error:
            log.exception("connector_failed", system=system, phase="changes", error=type(error).__name__)
            result = AnswerNotUnderstood("connector_failed")
        facts = summarise({system: result})
    if not facts.is_ordinary or not slot.availability.is_healthy:
        record_call(context.stores, context.settings, system, facts)
    if isinstance(result, ConnectorError):
        raise _Failed(result) from None
    return result


def _record(context: WorkerContext, leased: LeasedSync, changes: ChangePage, waited: Waited | None) -> int:
    return len(record_changes(context.stores, context.settings, leased, changes, waited=waited))


def _postpone(context: WorkerContext, leased: LeasedSync, error: ConnectorError) -> None:
    """Retry soon after an error that may pass, and at the next regular time after any other.

    A human must repair the cause of the other ones.
    """
    now = context.clock.now()
    retry = decide(error, consecutive_attempts=leased.consecutive_errors + 1, time_left=_NO_DEADLINE, now=now)
    every = context.settings.suppression.sync_interval_seconds
    seconds = every if retry.due_at is None else max((retry.due_at - now).total_seconds(), 0.0)
    postpone_sync(context.stores, leased, seconds=seconds, error=error.code if retry.is_attempt else None)
    log.warning("sync_not_done", system=leased.system, code=error.code)
