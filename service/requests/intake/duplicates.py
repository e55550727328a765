"""Find out which earlier requests a submission repeats, and link a submission to the request that covers it.

Decides what counts as a replay, as a reference in use, and as the same data subject. Writes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from service.requests.imports.paused import HALTED_IMPORTS
from service.requests.intake.validate import CheckedSubmission, SealedSubmission, Submission
from service.store.arrays import BinaryArray, uuid_array
from service.store.stores import Stores

KeyName: TypeAlias = tuple[UUID, str]
"""An API key's id, and an Idempotency-Key of it."""
ReferenceName: TypeAlias = tuple[UUID, str]
"""An API key's id, and an external reference that it submitted: another key may use the same one."""


class UsedKey(NamedTuple):
    """An Idempotency-Key that was used before; it isn't `remembered` any more once it has expired."""

    fingerprint: bytes
    receipt: Mapping[str, Any]
    remembered: bool


@dataclass(frozen=True)
class Before:
    """The store as it was at `now`, as far as a set of submissions asks."""

    now: datetime
    server_started_at: datetime
    used_keys: Mapping[KeyName, UsedKey] = field(repr=False)
    references: frozenset[ReferenceName]
    holders: Sequence[Holder] = field(repr=False)


# In the same loops as OPEN_REQUESTS, for the same reason.
_CLOCK = "clock_timestamp() AS now, pg_postmaster_start_time() AS server_started_at"
_NOBODY = "NULL::uuid AS request_id, NULL::timestamptz AS created_at, NULL::bytea[] AS hashes"
_NO_KEY = (
    "NULL::uuid AS api_key, NULL::text AS key, NULL::bytea AS fingerprint, NULL::jsonb AS receipt, NULL::bool AS on"
)
# OFFSET 0 keeps the loops: one look into each index for each hash. Without it a plan that a connection made while the
# tables were small, and keeps, reads all identifiers every time: 11 ms instead of 0.2 at 5,000 (measured 2026-11-22).
OPEN_REQUESTS = (
    "SELECT i.request_id, r.created_at, array_agg(h.hash) AS hashes"  # noqa: S608 - our own words
    " FROM unnest(CAST(%(hashes)s AS bytea[])) AS h(hash) CROSS JOIN LATERAL ("
    " SELECT request_id FROM identifiers WHERE keyed_hash = h.hash AND use IN ('planned', 'pending')"
    " AND (verification_method IS NOT NULL OR use = 'planned') OFFSET 0) AS i CROSS JOIN LATERAL ("
    " SELECT created_at FROM requests WHERE id = i.request_id AND state IN ('open', 'in_progress')"
    " AND duplicate_of IS NULL AND (import_id IS NULL OR import_id = CAST(%(import)s AS uuid)"
    f" OR import_id NOT IN ({HALTED_IMPORTS})) OFFSET 0) AS r GROUP BY i.request_id, r.created_at"
)
"""Rows of Holder: unfinished requests, and which of the asked hashes each of them covers. Its values: open_requests."""
_COVERED = (
    f"SELECT {_CLOCK}, o.*, {_NO_KEY}, NULL::text AS reference"  # noqa: S608 - our own words
    f" FROM (SELECT 1) AS one LEFT JOIN ({OPEN_REQUESTS}) AS o ON true"
)
_KEYS = (
    f" UNION ALL SELECT {_CLOCK}, {_NOBODY}, n.*, k.*, NULL"  # noqa: S608 - our own words
    " FROM unnest(CAST(%(api_keys)s AS uuid[]), CAST(%(keys)s AS text[])) AS n(api_key, key) CROSS JOIN LATERAL ("
    "SELECT fingerprint, receipt, expires_at > clock_timestamp() FROM idempotency_keys"
    " WHERE api_key_id = n.api_key AND key = n.key OFFSET 0) AS k"
)
_REFERENCES = (
    f" UNION ALL SELECT {_CLOCK}, {_NOBODY}, n.api_key, NULL, NULL, NULL, NULL, n.reference"  # noqa: S608 - our own words
    " FROM unnest(CAST(%(reference_keys)s AS uuid[]), CAST(%(references)s AS text[])) AS n(api_key, reference)"
    " CROSS JOIN LATERAL ("
    "SELECT 1 FROM requests WHERE external_reference = n.reference AND submitted_by = n.api_key OFFSET 0) AS r"
)


def key_name(submission: Submission) -> KeyName | None:
    """By what a repetition of this submission is recognised, if its sender asked for that."""
    if submission.idempotency_key is None:
        return None
    return submission.submitted_by, submission.idempotency_key


def reference_name(submission: Submission) -> ReferenceName | None:
    """Return the name under which the submission's external reference is unique; None if it has no reference."""
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
        used_keys={(r.api_key, r.key): UsedKey(bytes(r.fingerprint), r.receipt, r.on) for r in rows if r.key},
        references=frozenset((row.api_key, row.reference) for row in rows if row.reference),
        holders=[Holder(row.request_id, row.created_at, row.hashes) for row in rows if row.request_id],
    )


@lru_cache
def _statement(with_keys: bool, with_references: bool) -> str:
    return _COVERED + _KEYS * with_keys + _REFERENCES * with_references


class Holder(NamedTuple):
    """An unfinished request and hashes that it covers."""

    request_id: UUID
    created_at: datetime
    hashes: Sequence[bytes]


def values_of(submissions: Iterable[CheckedSubmission], import_id: UUID | None = None) -> dict[str, Any]:
    """The values of OPEN_REQUESTS for a set; its own import isn't halted for it."""
    hashes = {keyed_hash for checked in submissions if checked.is_verified for keyed_hash in checked.keyed_hashes}
    return {"hashes": BinaryArray(hashes) if hashes else uuid_array(()), "import": import_id}


def open_requests(
    connection: Connection, submissions: Iterable[CheckedSubmission], import_id: UUID | None = None
) -> list[Holder]:
    """Who covers what of these, in the caller's transaction."""
    rows = connection.exec_driver_sql(OPEN_REQUESTS, values_of(submissions, import_id))
    return [Holder(*row) for row in rows]


class Links:
    """Who covers whom: unfinished requests of the store, and earlier submissions of the set."""

    def __init__(self, holders: Iterable[Holder]) -> None:
        self._holders: dict[bytes, dict[UUID, None]] = {}
        for holder in sorted(holders, key=lambda each: each.created_at):
            self._add(holder.request_id, holder.hashes)

    def of(self, sealed: SealedSubmission) -> UUID | None:
        """The earliest unfinished request that has every identifier of this one, if each is verified here too."""
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
