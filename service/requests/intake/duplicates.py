"""What the store knows before submissions are written: one reading for a set of them.

Decides nothing: the database's clock and server, what was answered under these Idempotency-Keys, which of these
references their API keys have used, and which unfinished requests cover the people asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from service.requests.intake.link import OPEN_REQUESTS, Holder, values_of
from service.requests.intake.validate import CheckedSubmission, Submission
from service.store.arrays import Packed, listed
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
        "api_keys": listed(api_key for api_key, _ in keys),
        "keys": Packed(key for _, key in keys),
        "reference_keys": listed(api_key for api_key, _ in references),
        "references": Packed(reference for _, reference in references),
    }
    rows = stores.statements.run(_statement(bool(keys), bool(references)), values)
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
