"""The values that cross the border between the engine and a connector.

All are frozen; none prints the personal data that it carries. Nothing here does I/O or knows a vendor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_KIND_CHARACTERS = 63
# At most six digits: kinds are written into the audit log, where no value may look like a telephone number.
KIND_PATTERN = "[a-z](?:[a-z_]*[0-9]){0,6}[a-z_]*"
_KIND = re.compile(KIND_PATTERN)


def is_identifier_kind(text: str) -> bool:
    """True for the name of an identifier kind.

    It is 1 to 63 of a-z, 0-9 and _, a letter first, at most six digits.

    The only rule for kinds: the API, imports, configuration, declarations, normalisation and the audit log ask it.
    """
    return len(text) <= MAX_KIND_CHARACTERS and _KIND.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """One identifier of a data subject: a kind such as `email` and a value.

    The value never appears in `repr`.
    """

    kind: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"Identifier(kind={self.kind!r})"

    def __hash__(self) -> int:
        # Walks and batches group by these all the time, and hardly ever do two kinds have one value.
        return hash(self.value)


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """One record in one system: the vendor's object name and the vendor's id.

    Ids can be personal, so they are never printed.
    """

    object: str
    id: str = field(repr=False)

    def __str__(self) -> str:
        return f"Record(object={self.object!r})"


@dataclass(frozen=True, slots=True)
class Subject:
    """One person for a connector: a reference without meaning, frozen identifiers, frozen record ids.

    `ref` is unique in its batch and safe to log. A connector sends a vendor nothing about a person but these
    identifiers and records, and the records that it reaches *through* those records. `already_reported`: records per
    object in the recorded answers of `erase` for this person in this system, of every batch and version of the plan.
    `scopes`: what must not be done with the person's data, such as `do_not_sell` or `do_not_contact:email`; empty for
    an erasure, which means every scope that the connector offers.
    """

    ref: str
    identifiers: tuple[Identifier, ...]
    records: tuple[Record, ...] = ()
    already_reported: Mapping[str, int] = field(default_factory=dict, hash=False)
    scopes: tuple[str, ...] = ()

    def values(self, kind: str) -> tuple[str, ...]:
        """Values of this person's identifiers of `kind`, in order, without repeats."""
        return tuple(dict.fromkeys(i.value for i in self.identifiers if i.kind == kind))

    def record_ids(self, object_name: str) -> tuple[str, ...]:
        """Ids of this person's frozen records of one object, in order, without repeats."""
        return tuple(dict.fromkeys(r.id for r in self.records if r.object == object_name))


@dataclass(frozen=True, slots=True)
class Batch:
    """People of one system in one call or job.

    `key` is the same on every attempt: use it as idempotency key.
    """

    key: str
    subjects: tuple[Subject, ...]

    def __post_init__(self) -> None:
        if len({s.ref for s in self.subjects}) != len(self.subjects):
            raise ValueError("subject refs of a batch must be unique")


@dataclass(frozen=True, slots=True)
class Left:
    """A record that stays, and why. `reason` is a code such as `retained`, `locked`, `not_permitted`."""

    object: str
    id: str = field(repr=False)
    reason: str = "unknown"


@dataclass(frozen=True, slots=True)
class Located:
    """The result of a read-only search for one person.

    `records`: the roots to erase by id (dependents needn't be listed). `counts`: rows per object, dependents included
    where cheap. `identifiers`: every *other* identifier that the found records carry, so that the engine can ask the
    identity graph whether one of them is somebody else's. `not_covered`: codes of what this search couldn't see of this
    person, beside what the connector's declaration names for everybody; the engine adds that itself.
    """

    records: tuple[Record, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    identifiers: tuple[Identifier, ...] = ()
    not_covered: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when nothing at all was found."""
        return not self.records and not any(self.counts.values())


@dataclass(frozen=True, slots=True)
class Preview:
    """The effects that `erase` would have on the frozen records of a batch, found by looking only.

    `records` and `left`, per person (`Subject.ref`): how many records per object would go, and what would stay and why.
    `calls`: the HTTP calls that erasing and confirming would take, by what they are for. `plan_hash`: SHA-256 over what
    would be done to which record, in order; the same plan has the same hash.
    """

    records: Mapping[str, Mapping[str, int]]
    left: Mapping[str, tuple[Left, ...]]
    calls: Mapping[str, int]
    plan_hash: str


@dataclass(frozen=True, slots=True)
class ChangedRecord:
    """A record that may be a person's own, as it was at its last change, with every identifier in it.

    `identifiers` in the forms of the vendor, the record's own id among them where that is an identifier. `changed_at`
    is the vendor's word: the same record with the same instant is the same state of it.
    """

    record: Record
    identifiers: tuple[Identifier, ...]
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ChangePage:
    """One page of created and changed records.

    `cursor`: the beginning of the next page, in a form that only the connector understands. The engine stores it as it
    is, so it may hold no personal data and no record id. `more`: the next page can be read at once; False when the page
    holds the last change that the vendor shows so far.
    """

    records: tuple[ChangedRecord, ...]
    cursor: str
    more: bool


class AnswerKind(StrEnum):
    """The kinds of a connector's answer for one person in one call."""

    ERASED = "erased"
    ALREADY_ABSENT = "already_absent"
    ACCEPTED = "accepted"
    PARTIAL = "partial"
    RETAINED = "retained"
    AMBIGUOUS = "ambiguous"
    NOT_ADDRESSABLE = "not_addressable"
    SUPPRESSED = "suppressed"
    NOT_SUPPRESSED = "not_suppressed"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for one person. Build it with the constructors below; they keep the fields consistent.

    `records`: how many records per object had the effect and are reported here for the first time: the engine adds the
    counts of recorded answers up. Counts of an answer that was never recorded are reported again, those of a recorded
    one never (`Subject.already_reported`, `toolkit.counting`). `left`: what stays, each with a reason. `found`: records
    that were not in the frozen plan and were therefore *not* touched; the engine plans them anew. `resumes`: with
    ACCEPTED, whether `erase` or `suppress` must be called again with the resume token (a vendor's job is running) or
    only a look is owed; `jobs` are the vendor's names of the jobs that are waited for, by which a callback finds this
    person (hashed before they are stored). `reason` is a code, never a vendor's text. `not_covered`: as in Located.
    """

    kind: AnswerKind
    records: Mapping[str, int] = field(default_factory=dict)
    left: tuple[Left, ...] = ()
    found: Located | None = None
    look_again_at: datetime | None = None
    resumes: bool = False
    jobs: frozenset[str] = field(default=frozenset(), repr=False)
    reason: str | None = None
    not_covered: tuple[str, ...] = ()

    @classmethod
    def erased(cls, records: Mapping[str, int], *, not_covered: tuple[str, ...] = ()) -> Answer:
        """The vendor said that every planned record is gone. Absence is still to be confirmed."""
        return cls(AnswerKind.ERASED, records=dict(records), not_covered=not_covered)

    @classmethod
    def already_absent(cls, *, not_covered: tuple[str, ...] = ()) -> Answer:
        """A search by every identifier and record id answered, and found nothing."""
        return cls(AnswerKind.ALREADY_ABSENT, not_covered=not_covered)

    @classmethod
    def accepted(
        cls,
        look_again_at: datetime,
        *,
        resumes: bool = False,
        jobs: Iterable[str] = (),
        records: Mapping[str, int] | None = None,
        left: tuple[Left, ...] = (),
        not_covered: tuple[str, ...] = (),
    ) -> Answer:
        """The vendor will do it later; a look at `look_again_at` or after must prove it."""
        if look_again_at.tzinfo is None:
            raise ValueError("look_again_at must be timezone-aware")
        return cls(
            AnswerKind.ACCEPTED,
            records=dict(records or {}),
            left=left,
            look_again_at=look_again_at,
            resumes=resumes,
            jobs=frozenset(jobs),
            not_covered=not_covered,
        )

    @classmethod
    def partial(
        cls,
        left: tuple[Left, ...],
        *,
        records: Mapping[str, int] | None = None,
        found: Located | None = None,
        reason: str | None = None,
        not_covered: tuple[str, ...] = (),
    ) -> Answer:
        """Something stays: `left` says what and why, `found` what is new and untouched."""
        if not left and found is None:
            raise ValueError("a partial answer says what is left")
        return cls(
            AnswerKind.PARTIAL,
            records=dict(records or {}),
            left=left,
            found=found,
            reason=reason,
            not_covered=not_covered,
        )

    @classmethod
    def retained(cls, reason: str, *, left: tuple[Left, ...] = (), records: Mapping[str, int] | None = None) -> Answer:
        """Kept on purpose, by the system's policy or the law; `reason` is the policy's code."""
        return cls(AnswerKind.RETAINED, reason=reason, left=left, records=dict(records or {}))

    @classmethod
    def ambiguous(cls, reason: str, *, left: tuple[Left, ...] = ()) -> Answer:
        """A found record may be somebody else's; nothing was done to it."""
        return cls(AnswerKind.AMBIGUOUS, reason=reason, left=left)

    @classmethod
    def not_addressable(cls, reason: str = "no_usable_identifier") -> Answer:
        """The person has no identifier that this system understands. Nothing was done, and that is no success."""
        return cls(AnswerKind.NOT_ADDRESSABLE, reason=reason)

    @classmethod
    def suppressed(cls) -> Answer:
        """Every scope that is wanted and offered is in force in the system."""
        return cls(AnswerKind.SUPPRESSED)

    @classmethod
    def not_suppressed(cls) -> Answer:
        """A look found the person without a scope that is wanted and offered."""
        return cls(AnswerKind.NOT_SUPPRESSED)


@dataclass(frozen=True, slots=True)
class Visibility:
    """How a credential proved, just now, that it can see what it would have to find.

    `proof` is a code such as `control_record` or `scopes`; `detail` is safe to print. Without a proof a connector
    raises `CredentialsRefused("no_visibility")` instead of answering.
    """

    proof: str
    detail: str = ""
