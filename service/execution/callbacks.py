"""Bring the looks of accepted steps forward when a vendor's signed callback comes.

Decides when: now, but not before the vendor's own delay is over, and not twice within `min_callback_interval_seconds`,
however often the same call comes. Changes no state, answer or attempt: only due times move, which the
audit log doesn't record. A callback that is lost, refused or late costs nothing but the wait for the
poll.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from enum import StrEnum

import structlog

from connectors.base.callbacks import Callback, CallbackCall, CallbackRefused
from connectors.base.registry import connector_class
from service.requests.steps.schedule import look_after_callback
from service.settings import ConfiguredSystem, Settings
from service.store.locking import disable_seqscan
from service.store.stores import Stores
from service.system_rules import rules_of

log = structlog.get_logger(__name__)
_MOST_OF_NAMED_JOBS = 10_000
_MOST_OF_ANY_JOB = 1_000


class CallbackOutcome(StrEnum):
    """The outcome of a callback."""

    SOONER = "sooner"
    NOTHING_TO_DO = "nothing_to_do"
    REFUSED = "refused"


def hear_callback(
    stores: Stores, settings: Settings, system: str, call: CallbackCall, now: datetime
) -> CallbackOutcome:
    """Check a callback for a system by its name, and bring looks forward.

    `now`: this process' clock, for the signed time. An unknown system, one that doesn't send callbacks, and a call that
    its vendor didn't sign are all `REFUSED`.
    """
    configured = next((s for s in settings.systems if s.config.name == system), None)
    callback = _read(configured, call, now)
    if callback is None or configured is None:
        return CallbackOutcome.REFUSED
    sooner = _look_sooner(stores, settings, configured.config.name, callback)
    log.info("callback_heard", system=configured.config.name, jobs=len(callback.jobs), sooner=sooner)
    return CallbackOutcome.SOONER if sooner else CallbackOutcome.NOTHING_TO_DO


def _read(configured: ConfiguredSystem | None, call: CallbackCall, now: datetime) -> Callback | None:
    """Return the parsed call, or None if it is refused."""
    kind = None if configured is None else connector_class(configured.config.connector)
    if configured is None or kind is None or not kind.declaration.sends_callbacks:
        # As much work as for a system that there is: how long it takes doesn't tell which systems are connected.
        hmac.new(b"nobody", call.body, hashlib.sha256).digest()
        return None
    try:
        return kind.read_callback(configured.config, call, now)
    except CallbackRefused as refusal:
        log.warning("callback_refused", system=configured.config.name, code=refusal.code)
    except Exception as error:  # noqa: BLE001 - a connector's mistake about a stranger's bytes: no other answer for it
        # Without the traceback, which may carry what the stranger sent.
        log.error("callback_not_read", system=configured.config.name, error=type(error).__name__)  # noqa: TRY400
    return None


def _look_sooner(stores: Stores, settings: Settings, system: str, callback: Callback) -> int:
    if not callback.jobs and not callback.any_job:
        return 0
    hashes = [stores.pepper.of_job(system, job) for job in callback.jobs]
    with stores.engine.begin() as connection:
        disable_seqscan(connection)
        return look_after_callback(
            connection,
            system,
            job_hashes=None if callback.any_job else hashes,
            pause_seconds=settings.engine.min_callback_interval_seconds,
            delay_seconds=rules_of(settings, system).confirm_after.total_seconds(),
            limit=_MOST_OF_ANY_JOB if callback.any_job else _MOST_OF_NAMED_JOBS,
        )
