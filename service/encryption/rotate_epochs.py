"""Rotate encryption epochs: begin the next, re-wrap the needed data keys, destroy old epoch keys.

The process may die at any point of this order, and the next run continues:

1. The next epoch key is durable outside the database; then the register makes the epoch current.
2. Data keys of unsealed requests and open batches are re-wrapped under it, page by page, each page committed.
3. A query that no writer can overtake (`key_epochs`) shows that no data key names the old epoch: it is emptied.
4. After `keys.epoch_backup_seconds` the tables are vacuumed and the old epoch key is destroyed.

Only step 4 destroys anything, and only a key that no data key needs, so that a rotation loses nothing that was
accepted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import structlog

from service.domain.audit.schema import is_actor
from service.domain.encryption.epochs import EncryptionEpoch, EpochState, may_be_destroyed
from service.domain.errors import Invalid, NotFound, WrongState
from service.settings import Settings
from service.store.encryption.epoch_log import log_epochs
from service.store.encryption.vacuum import KEY_TABLES, SEALED_TABLES, vacuum
from service.store.stores import Stores

log = structlog.get_logger(__name__)

_REWRAP_SECONDS = 20.0


@dataclass(frozen=True)
class EpochWork:
    """One run. `busy`: another process rotates. `unfinished`: the next run continues to re-wrap."""

    begun: bool = False
    rewrapped: bool = False
    destroyed: int = 0
    busy: bool = False
    unfinished: bool = False


def rotate_epochs(stores: Stores, settings: Settings, *, now: bool = False, actor: str = "scheduler") -> EpochWork:
    """Rotate if it is due; with `now`, begin the next epoch whatever its age.

    Raises EpochKeyUnusable, Invalid.
    """
    _check_actor(actor)
    epochs = stores.keys.epochs
    with epochs.one_at_a_time() as ours:
        if not ours:
            return EpochWork(busy=True)
        before = epochs.current()
        stores.keys.check()
        every = timedelta(0) if now else timedelta(seconds=settings.keys.epoch_seconds)
        begun = epochs.begin(every=every).id != before
        finished = _rewrap(stores)
        if finished:
            _mark_emptied(stores)
        destroyed = _destroy(stores, timedelta(seconds=settings.keys.epoch_backup_seconds))
        log_epochs(stores.engine, epochs.all(), actor=actor)
    return EpochWork(begun=begun, rewrapped=finished, destroyed=destroyed, unfinished=not finished)


def adopt_epochs(stores: Stores, *, operator: str) -> int:
    """Record epoch keys that this key store doesn't know, so that they are destroyed in time.

    Returns how many. Only a named operator does this, never the scheduler, because the keys may be those of another
    installation that was given the same directory or the same Vault by mistake. Raises WrongState while another process
    rotates; Invalid; EpochKeyUnusable.
    """
    _check_actor(f"operator:{operator}")
    with stores.keys.epochs.one_at_a_time() as ours:
        if not ours:
            raise WrongState("another process is rotating now: nothing was done, try again")
        adopted = stores.keys.epochs.adopt_unknown()
        log_epochs(stores.engine, stores.keys.epochs.all(), actor=f"operator:{operator}")
    return len(adopted)


def give_up_epoch(stores: Stores, epoch: EncryptionEpoch, *, operator: str) -> int:
    """Accept that an epoch's key is lost. Returns how many data keys can never be unwrapped.

    Raises WrongState for an epoch whose key exists or that has ended; Invalid for a name that the log can't hold.
    """
    _check_actor(f"operator:{operator}")
    if not epoch.has_key:
        raise WrongState("this epoch has no key to lose: it ended before")
    count = stores.keys.epochs.give_up(epoch.id)
    if count is None:
        raise WrongState("this epoch's key is there: nothing is lost")
    log_epochs(stores.engine, stores.keys.epochs.all(), actor=f"operator:{operator}")
    return count


def find_epoch(stores: Stores, written: str) -> EncryptionEpoch:
    """The epoch of that id. Raises NotFound."""
    for epoch in stores.keys.epochs.all():
        if str(epoch.id) == written:
            return epoch
    raise NotFound("there is no such epoch")


def _check_actor(actor: str) -> None:
    """Refuse a name that the audit log would refuse, before anything is done."""
    if not is_actor(actor):
        raise Invalid("operator: a name in lower case without spaces, such as ada.byron", field="operator")


def _rewrap(stores: Stores) -> bool:
    """Return True if the last page was reached, False if the time was over before."""
    until, after = time.monotonic() + _REWRAP_SECONDS, ""
    while time.monotonic() < until:
        last = stores.keys.rewrap(after=after)
        if last is None:
            return True
        after = last
    return False


def _mark_emptied(stores: Stores) -> None:
    for epoch in stores.keys.epochs.all():
        if epoch.state is EpochState.RETIRED and epoch.emptied_at is None:
            stores.keys.epochs.mark_emptied(epoch.id)


def _destroy(stores: Stores, kept: timedelta) -> int:
    epochs = stores.keys.epochs
    now = epochs.now()
    over = [epoch for epoch in epochs.all() if may_be_destroyed(epoch, kept=kept, now=now)]
    if not over:
        return 0
    vacuum(stores.key_engine, KEY_TABLES)
    vacuum(stores.engine, SEALED_TABLES)
    return sum(epochs.destroy(epoch.id) for epoch in over)
