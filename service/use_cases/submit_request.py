"""Accept a request: from here on it can't be lost. One statement writes everything; nothing else happens in HTTP.

Decides what repeats an earlier submission, and which request a second one is linked to. The data key is made first, in
its own database: a crash in between leaves a key without a request, which the sweeper removes.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from service.domain.idempotency import is_same_body
from service.domain.refusals import IdempotencyConflict, ReferenceInUse
from service.settings import Settings
from service.storage.import_gate import HALTED_IMPORTS
from service.storage.key_store import request_owner
from service.storage.new_requests import NewRequest, RememberedKey, insertion_of, on_one_server
from service.storage.rows import check_again
from service.storage.stores import Stores
from service.use_cases.prepare_submission import (
    CheckedSubmission,
    Submission,
    SubmittedIdentifier,
    check_submission,
    seal_submissions,
)
from service.use_cases.write_request import Receipt, new_request, receipt_of

__all__ = ["Receipt", "Submission", "SubmittedIdentifier", "submit_request"]

# One reading: the database's clock, what this Idempotency-Key was used for, and the unfinished request that already
# covers every submitted identifier, if each is verified here too (else no hashes are given).
_BEFORE = (
    "SELECT clock_timestamp() AS now, pg_postmaster_start_time() AS server_started_at,"  # noqa: S608 - our own words
    " k.fingerprint, k.receipt, k.expires_at > clock_timestamp() AS remembered, ("
    " SELECT i.request_id FROM identifiers i JOIN requests r ON r.id = i.request_id"
    " WHERE i.keyed_hash = ANY(CAST(%(hashes)s AS bytea[])) AND i.use IN ('planned', 'pending')"
    " AND (i.verification_method IS NOT NULL OR i.use = 'planned')"
    " AND r.state IN ('open', 'in_progress') AND r.linked_to IS NULL"
    f" AND (r.import_id IS NULL OR r.import_id NOT IN ({HALTED_IMPORTS}))"
    " GROUP BY i.request_id, r.created_at HAVING count(DISTINCT i.keyed_hash) = %(wanted)s"
    " ORDER BY r.created_at LIMIT 1) AS linked_to"
    " FROM (SELECT 1) AS one LEFT JOIN idempotency_keys k ON k.api_key_id = %(api_key)s AND k.key = %(key)s"
)
_FORGET = text("DELETE FROM idempotency_keys WHERE api_key_id = :k AND key = :i AND expires_at <= clock_timestamp()")


def submit_request(stores: Stores, settings: Settings, submission: Submission) -> Receipt:
    """Accept a submission durably, or refuse it with nothing left behind.

    Raises: Invalid, KindNotAvailable, IdempotencyConflict, ReferenceInUse, StoreMoved.
    """
    checked = check_submission(stores.pepper, settings, submission)
    before = _read_before(stores, checked)
    earlier = _earlier_receipt(before, checked)
    if earlier is not None:
        return earlier
    (sealed,) = seal_submissions(stores, [checked], before.server_started_at)
    new = new_request(settings, sealed, linked_to=before.linked_to, now=before.now)
    receipt = receipt_of(new)
    remembered = None
    if submission.idempotency_key is not None:
        remembered = RememberedKey(
            submission.submitted_by,
            submission.idempotency_key,
            checked.fingerprint,
            asdict(receipt),
            before.now + settings.seconds("idempotency"),
        )
    try:
        _write(stores, new, remembered, before)
    except IntegrityError as error:
        # Refused by the database, so certainly not committed. After any other error nobody knows: the connection may
        # have broken after the commit, and without its key an accepted request is lost. The sweeper finds orphans.
        stores.keys.destroy([request_owner(sealed.request_id)])
        return _lost_a_race(stores, checked, error)
    return receipt


def _read_before(stores: Stores, checked: CheckedSubmission) -> Any:
    values = {
        "hashes": list(checked.keyed_hashes) if checked.is_verified else [],
        "wanted": len(set(checked.keyed_hashes)),
        "api_key": checked.submission.submitted_by,
        "key": checked.submission.idempotency_key,
    }
    (row,) = stores.statements.run(_BEFORE, values)
    return row


def _earlier_receipt(before: Any, checked: CheckedSubmission) -> Receipt | None:
    if not before.remembered:
        return None
    if not is_same_body(bytes(before.fingerprint), checked.fingerprint):
        raise IdempotencyConflict("this key was used with another body", field="Idempotency-Key")
    return replace(Receipt(**before.receipt), replayed=True)


def _write(stores: Stores, new: NewRequest, remembered: RememberedKey | None, before: Any) -> None:
    linked_to = new.columns["linked_to"]
    insertion = insertion_of(new, remembered, before.server_started_at)
    forget = before.remembered is not None
    if linked_to is None and not forget:
        with on_one_server():
            stores.statements.run(*insertion)
        return
    with on_one_server(), stores.engine.begin() as connection:
        if forget and remembered is not None:
            connection.execute(_FORGET, {"k": remembered.api_key_id, "i": remembered.key})
        connection.exec_driver_sql(*insertion)
        if linked_to is not None:
            # The other request may have ended between our reading of it and our commit; nobody else would come by.
            check_again(connection, [linked_to])


def _lost_a_race(stores: Stores, checked: CheckedSubmission, error: IntegrityError) -> Receipt:
    """Two submissions met at a unique constraint; the other one is committed now."""
    earlier = _earlier_receipt(_read_before(stores, checked), checked)
    if earlier is not None:
        return earlier
    if "external_reference" in str(error.orig):
        raise ReferenceInUse("another request has this reference", field="/external_reference") from None
    raise error
