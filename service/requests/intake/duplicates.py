"""Find the earlier requests that a submission repeats, and link it to the request that covers it.

Decides what counts as a replay, as a reference in use, and as the same data subject. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from service.domain.requests.states import RequestKind
from service.requests.intake.validate import CheckedSubmission, SealedSubmission, Submission
from service.requests.records.insert import StoredReceipt
from service.store.arrays import BinaryArray, uuid_array
from service.store.execute import compile_once
from service.store.sql_files import load_sql
from service.store.stores import Stores

KeyName: TypeAlias = tuple[UUID, str]
"""An API key's id, and an Idempotency-Key of it."""
ReferenceName: TypeAlias = tuple[UUID, str]
"""An API key's id, and an external reference that it submitted: another key may use the same one."""


class UsedKey(NamedTuple):
    """An Idempotency-Key that was used before; it isn't `remembered` any more once it has expired."""

    fingerprint: bytes
    receipt: StoredReceipt
    remembered: bool


@dataclass(frozen=True)
class Before:
    """The store as it was at `now`, as far as a set of submissions asks."""

    now: datetime
    server_started_at: datetime
    used_keys: Mapping[KeyName, UsedKey] = field(repr=False)
    references: frozenset[ReferenceName]
    holders: Sequence[Holder] = field(repr=False)


OPEN_REQUESTS = compile_once(load_sql(__package__, "open_requests")).words
"""Rows of Holder: unfinished requests, and which of the asked hashes each of them covers. Its values: `values_of`."""
_BEFORE = {
    (False, False): compile_once(load_sql(__package__, "before")).words,
    (True, False): compile_once(load_sql(__package__, "before_keys")).words,
    (False, True): compile_once(load_sql(__package__, "before_references")).words,
    (True, True): compile_once(load_sql(__package__, "before_keys_and_references")).words,
}


def key_name(submission: Submission) -> KeyName | None:
    """By what a repetition of this submission is recognised, if its sender asked for that."""
    if submission.idempotency_key is None:
        return None
    return submission.submitted_by, submission.idempotency_key


def reference_name(submission: Submission) -> ReferenceName | None:
    """Return the name under which the submission's reference is unique; None if it has no reference."""
    if submission.external_reference is None:
        return None
    return submission.submitted_by, submission.external_reference


def read_before(stores: Stores, checked: Sequence[CheckedSubmission]) -> Before:
    """One statement, whose parts are left out where nothing asks for them."""
    submissions = [each.submission for each in checked]
    keys = [name for submission in submissions if (name := key_name(submission)) is not None]
    references = [name for submission in submissions if (name := reference_name(submission)) is not None]
    values = values_of(checked) | {
        "api_keys": uuid_array(api_key for api_key, _ in keys),
        "keys": BinaryArray(key for _, key in keys),
        "reference_keys": uuid_array(api_key for api_key, _ in references),
        "references": BinaryArray(reference for _, reference in references),
    }
    rows = stores.autocommit.execute(_statement(bool(keys), bool(references)), values)
    return Before(
        now=rows[0].now,
        server_started_at=rows[0].server_started_at,
        used_keys={(r.api_key, r.key): UsedKey(bytes(r.fingerprint), r.receipt, r.remembered) for r in rows if r.key},
        references=frozenset((row.api_key, row.reference) for row in rows if row.reference),
        holders=[Holder(row.request_id, row.created_at, row.hashes) for row in rows if row.request_id],
    )


def _statement(with_keys: bool, with_references: bool) -> str:
    return _BEFORE[with_keys, with_references]


class Holder(NamedTuple):
    """An unfinished request and hashes that it covers."""

    request_id: UUID
    created_at: datetime
    hashes: Sequence[bytes]


def values_of(submissions: Iterable[CheckedSubmission], import_id: UUID | None = None) -> dict[str, object]:
    """The values of OPEN_REQUESTS for a set; its own import isn't halted for it."""
    hashes = {keyed_hash for checked in submissions if checked.is_verified for keyed_hash in checked.keyed_hashes}
    return {"hashes": BinaryArray(hashes) if hashes else uuid_array(()), "import": import_id}


def open_requests(
    connection: Connection, submissions: Iterable[CheckedSubmission], import_id: UUID | None = None
) -> list[Holder]:
    """Return the unfinished requests that cover these, in the caller's transaction."""
    rows = connection.exec_driver_sql(OPEN_REQUESTS, values_of(submissions, import_id))
    return [Holder(*row) for row in rows]


class Links:
    """The requests that cover others: unfinished ones of the store, and earlier submissions of the set."""

    def __init__(self, holders: Iterable[Holder]) -> None:
        self._holders: dict[bytes, dict[UUID, None]] = {}
        for holder in sorted(holders, key=lambda each: each.created_at):
            self._add(holder.request_id, holder.hashes)

    def of(self, sealed: SealedSubmission) -> UUID | None:
        """Return the earliest unfinished erasure that covers every identifier, if each is verified here too.

        Only erasures are linked: an opt-out that is repeated is carried out again, which changes nothing.
        """
        if sealed.checked.submission.kind != RequestKind.ERASURE:
            return None
        hashes = sealed.checked.keyed_hashes
        if sealed.checked.is_verified:
            first, *others = (self._holders.get(keyed_hash, {}) for keyed_hash in hashes)
            for request_id in first:
                if all(request_id in holders for holders in others):
                    return request_id
        pairs = zip(hashes, sealed.checked.identifiers, strict=True)
        self._add(sealed.request_id, [h for h, (_, submitted) in pairs if submitted.verification_method is not None])
        return None

    def _add(self, request_id: UUID, hashes: Sequence[bytes]) -> None:
        for keyed_hash in hashes:
            self._holders.setdefault(bytes(keyed_hash), {})[request_id] = None
