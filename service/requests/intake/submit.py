"""Accept requests: no accepted request is ever lost, because one statement writes all of its rows.

Nothing else happens in the HTTP call. Decides which submission repeats an earlier one, and which request a second one
is linked to. Submissions that arrive together are written together: one reading, one statement for their keys, one
insertion, one commit. Each has its own answer; a submission that can't be written with the others is repeated alone.

The data keys are made first, in their own database: a crash in between leaves keys without requests, which the sweeper
removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.exc import DBAPIError, IntegrityError

from service.domain.errors import IdempotencyConflict, ReferenceInUse
from service.domain.requests.idempotency import is_same_body
from service.requests.intake.build import TICK, Receipt, new_request, receipt_of, stored_receipt
from service.requests.intake.duplicates import (
    Before,
    KeyName,
    Links,
    ReferenceName,
    UsedKey,
    key_name,
    read_before,
    reference_name,
)
from service.requests.intake.store import forget_expired
from service.requests.intake.validate import (
    CheckedSubmission,
    SealedSubmission,
    Submission,
    SubmittedIdentifier,
    check_submission,
    discard_keys,
    seal_submissions,
)
from service.requests.records.insert import (
    NewRequest,
    RememberedKey,
    insertion_of,
    is_certainly_not_written,
    on_one_server,
)
from service.settings import Settings
from service.store.locking import request_check
from service.store.stores import Stores

__all__ = ["Receipt", "RetryIndividually", "Submission", "SubmittedIdentifier", "submit_request", "submit_requests"]

# How long submissions wait together for somebody else's transaction, before each waits for itself.
_PATIENCE = timedelta(milliseconds=200)


class RetryIndividually(Exception):  # noqa: N818 - says what the caller does next
    """The submission must be repeated without the others, because nothing was written for it.

    A submission that comes alone never gets this.
    """


def submit_request(stores: Stores, settings: Settings, submission: Submission) -> Receipt:
    """Accept a submission durably, or refuse it with nothing left behind.

    Raises: Invalid, KindNotAvailable, IdempotencyConflict, ReferenceInUse, StoreMoved.
    """
    (result,) = submit_requests(stores, settings, [submission])
    if isinstance(result, Exception):
        raise result
    return result


def submit_requests(stores: Stores, settings: Settings, submissions: Sequence[Submission]) -> list[Receipt | Exception]:
    """Submit several requests at once; return each one's receipt or exception, in their order.

    Raises errors that aren't one submission's own: then it isn't known which of them were accepted.
    """
    results: dict[int, Receipt | Exception] = {}
    checked: dict[int, CheckedSubmission] = {}
    for place, submission in enumerate(submissions):
        try:
            checked[place] = check_submission(stores.pepper, settings, submission)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this submission's and not the others'
            results[place] = error
    if checked:
        before = read_before(stores, list(checked.values()))
        results |= _judged(before, checked)
        fresh = {place: each for place, each in checked.items() if place not in results}
        results |= _written(stores, settings, before, fresh, is_alone=len(submissions) == 1)
    return [results[place] for place in range(len(submissions))]


def _judged(before: Before, checked: Mapping[int, CheckedSubmission]) -> dict[int, Receipt | Exception]:
    """Return the answers that are known without writing.

    Of two submissions with one key or reference the later is repeated alone, after the first is written.
    """
    results: dict[int, Receipt | Exception] = {}
    taken: set[tuple[str, KeyName | ReferenceName]] = set()
    for place, each in checked.items():
        known = _known(before, each)
        names = {"key": key_name(each.submission), "reference": reference_name(each.submission)}
        own = {(kind, name) for kind, name in names.items() if name is not None}
        if known is not None:
            results[place] = known
        elif own & taken:
            results[place] = RetryIndividually()
        else:
            taken |= own
    return results


def _known(before: Before, checked: CheckedSubmission) -> Receipt | Exception | None:
    name = key_name(checked.submission)
    used = None if name is None else before.used_keys.get(name)
    if used is not None and used.remembered:
        return _repeated(used, checked)
    if reference_name(checked.submission) in before.references:
        return ReferenceInUse("another request of this API key has this reference", field="/external_reference")
    return None


def _repeated(used: UsedKey, checked: CheckedSubmission) -> Receipt | Exception:
    if not is_same_body(used.fingerprint, checked.fingerprint):
        return IdempotencyConflict("this key was used with another body", field="Idempotency-Key")
    return replace(Receipt(**used.receipt), replayed=True)


def _written(
    stores: Stores, settings: Settings, before: Before, fresh: Mapping[int, CheckedSubmission], *, is_alone: bool
) -> dict[int, Receipt | Exception]:
    if not fresh:
        return {}
    sealed = seal_submissions(stores, list(fresh.values()), before.server_started_at)
    error: Exception
    try:
        new = _rows(settings, before, sealed)
        receipts = [receipt_of(each) for each in new]
        remembered = _remembered(settings, before, sealed, receipts)
    except Exception as ours:  # noqa: BLE001 - whatever it is, the others are not to pay for it
        error = ours
    else:
        try:
            _write(stores, before, new, remembered, patience=None if is_alone else _PATIENCE)
            return dict(zip(fresh, receipts, strict=True))
        except DBAPIError as refused:
            if not is_certainly_not_written(refused):
                # The connection may have broken after the commit, and without its key an accepted request is lost.
                # If the request isn't there, the sweep of orphaned keys destroys the key.
                raise
            error = refused
    discard_keys(stores, [each.request_id for each in sealed])
    if not is_alone:
        return dict.fromkeys(fresh, RetryIndividually())
    ((place, checked),) = fresh.items()
    return {place: _lost_a_race(stores, checked, error) if isinstance(error, IntegrityError) else error}


def _rows(settings: Settings, before: Before, sealed: Sequence[SealedSubmission]) -> list[NewRequest]:
    links = Links(before.holders)
    return [
        new_request(settings, each, duplicate_of=links.of(each), now=before.now, created_at=before.now + place * TICK)
        for place, each in enumerate(sealed)
    ]


def _remembered(
    settings: Settings, before: Before, sealed: Sequence[SealedSubmission], receipts: Sequence[Receipt]
) -> list[RememberedKey]:
    until = before.now + settings.seconds("idempotency_key_retention")
    return [
        RememberedKey(*name, each.checked.fingerprint, stored_receipt(receipt), until)
        for each, receipt in zip(sealed, receipts, strict=True)
        if (name := key_name(each.checked.submission)) is not None
    ]


def _write(
    stores: Stores,
    before: Before,
    new: Sequence[NewRequest],
    remembered: Sequence[RememberedKey],
    *,
    patience: timedelta | None,
) -> None:
    ours = {request.row.id for request in new}
    linked = {request.row.duplicate_of for request in new if request.row.duplicate_of is not None} - ours
    expired = [key for key in remembered if (key.api_key_id, key.key) in before.used_keys]
    insertion = insertion_of(new, before.server_started_at, remembered, patience=patience)
    if not linked and not expired:
        with on_one_server():
            stores.autocommit.execute(*insertion)
        return
    with on_one_server(), stores.engine.begin() as connection:
        if expired:
            forget_expired(connection, [(key.api_key_id, key.key) for key in expired])
        connection.exec_driver_sql(*insertion)
        # These may have ended between our reading and our commit; no other transaction would add the check.
        request_check(connection, sorted(linked))


def _lost_a_race(stores: Stores, checked: CheckedSubmission, error: IntegrityError) -> Receipt | Exception:
    """Two submissions met at a unique constraint; the other one is committed now."""
    return _known(read_before(stores, [checked]), checked) or error
