"""Bodies and parameters of the API. Unknown fields are refused, and no error repeats the input.

Decides forms only: RFC 3339 instants with an offset, codes from fixed lists. The use cases decide the meaning of the
values. Reasons of refusals are codes, so that no part of the input can appear in an answer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from connectors.base.config import IdentifierKind
from connectors.base.values import Identifier
from service.domain.execution.events import Resolution, ResolutionReason
from service.domain.identity.doubts import DoubtDecision
from service.domain.identity.normalise import MAX_VALUE_CHARACTERS
from service.domain.instants import OutsideTheCalendar, in_utc
from service.domain.requests.deadlines import REGIMES
from service.domain.requests.holds import HoldReason
from service.domain.requests.states import DenialReason, ExtensionReason
from service.domain.suppression.scopes import ALLOWED, UnknownScope, stored_scopes
from service.requests.identity.review import LateVerification, Review
from service.requests.intake.validate import KINDS, MAX_IDENTIFIERS, MAX_SCOPES, Submission, SubmittedIdentifier

CLOCK_SKEW = timedelta(minutes=5)
# Backlogs are imported late, and a hopelessly old date is a typing error.
OLDEST = timedelta(days=366 * 10)
LONGEST_HOLD = timedelta(days=366 * 30)

_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)

RequestKind = StrEnum("RequestKind", {kind.upper(): kind for kind in KINDS})  # type: ignore[misc]  # names from a table
RegimeCode = StrEnum("RegimeCode", {code.upper(): code for code in REGIMES})  # type: ignore[misc]  # names from a table


def _only_text(value: object) -> str:
    """Refuse numbers, which pydantic would read as seconds since 1970."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise PydanticCustomError("not_rfc_3339", "an RFC 3339 date-time is required")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return in_utc(value)
    except OutsideTheCalendar:
        raise PydanticCustomError("outside_the_calendar", "lies outside the years 1 to 9999") from None


def _recent(value: datetime) -> datetime:
    now = datetime.now(UTC)
    if value > now + CLOCK_SKEW:
        raise PydanticCustomError("in_the_future", "lies in the future")
    if value < now - OLDEST:
        raise PydanticCustomError("too_long_ago", "lies more than ten years back")
    return value


def _coming(value: datetime) -> datetime:
    now = datetime.now(UTC)
    if value <= now:
        raise PydanticCustomError("not_in_the_future", "must lie in the future")
    if value > now + LONGEST_HOLD:
        raise PydanticCustomError("too_far_away", "lies too far in the future")
    return value


# Every instant of the API is one of these three: in UTC, and inside the calendar of every time zone.
AnyInstant = Annotated[AwareDatetime, BeforeValidator(_only_text), AfterValidator(_in_utc)]
PastInstant = Annotated[AnyInstant, AfterValidator(_recent)]
ComingInstant = Annotated[AnyInstant, AfterValidator(_coming)]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _known_scope(value: str) -> str:
    try:
        stored_scopes([value])
    except UnknownScope:
        # The reason of an enumeration, so that the refusal lists what is allowed.
        expected = ", ".join(f"'{each}'" for each in ALLOWED)
        raise PydanticCustomError("enum", "known scopes: {expected}", {"expected": expected}) from None
    return value


Scope = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_known_scope),
    Field(description="what must not be done any more; `do_not_contact` alone means every channel"),
]


def _names_a_proof(value: str) -> str:
    if value in _NO_PROOF:
        raise PydanticCustomError("names_no_proof", "leave verification out for an identifier that isn't verified")
    if len(value) - len(value.translate(_NO_DIGITS)) > _MOST_DIGITS_IN_A_METHOD:
        raise PydanticCustomError("too_many_digits", "a method is a code, not a number")
    return value


_MOST_DIGITS_IN_A_METHOD = 4
_NO_DIGITS = str.maketrans("", "", "0123456789")
_NO_PROOF = frozenset({"none", "null", "no", "unverified", "not_verified", "unknown", "pending", "false"})
VerificationMethod = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$"),
    AfterValidator(_names_a_proof),
    Field(
        description="how the identifier was proven to be the requester's: a code of your own, such as signed_in,"
        " email_link, phone_code, document, signed_declaration, matched_records, authorised_agent",
        examples=["email_link"],
    ),
]


class Body(BaseModel):
    """Base of all bodies and parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SentIdentifier(Body):
    """An identifier: a kind such as `email`, and a value."""

    kind: IdentifierKind = Field(examples=["email"])
    value: str = Field(min_length=1, max_length=MAX_VALUE_CHARACTERS, repr=False, examples=["ada@example.test"])


class Verification(Body):
    """The proof that an identifier is the requester's."""

    method: VerificationMethod
    verified_at: PastInstant = Field(examples=["2026-11-20T09:31:00Z"])


class SubmittedIdentifierBody(SentIdentifier):
    """An identifier of a request. Without `verification` it starts no work by itself."""

    verification: Verification | None = None


class SubmitBody(Body):
    """A data-subject request."""

    kind: RequestKind = Field(description="`access` answers 422 `kind_not_available` for now")
    regime: RegimeCode = Field(description="the law that sets the deadline")
    identifiers: list[SubmittedIdentifierBody] = Field(min_length=1, max_length=MAX_IDENTIFIERS)
    received_at: PastInstant = Field(description="when the request was received; the deadline counts from it")
    external_reference: Reference | None = Field(
        None, description="your own reference, unique for each API key; it must not be personal"
    )
    scopes: list[Scope] = Field(
        default_factory=list,
        max_length=MAX_SCOPES,
        description=f"a suppression's scopes, at least one of: {', '.join(ALLOWED)}; no other kind takes any",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "kind": "erasure",
                "regime": "gdpr",
                "identifiers": [
                    {
                        "kind": "email",
                        "value": "ada@example.test",
                        "verification": {"method": "email_link", "verified_at": "2026-11-20T09:31:00Z"},
                    }
                ],
                "received_at": "2026-11-20T09:30:00Z",
                "external_reference": "case-2041",
            }
        }
    )


def submission_of(body: SubmitBody, submitted_by: UUID, idempotency_key: str | None = None) -> Submission:
    """Return the body as the use case takes it."""
    return Submission(
        kind=body.kind,
        regime=body.regime,
        identifiers=tuple(
            SubmittedIdentifier(
                Identifier(each.kind, each.value),
                None if each.verification is None else each.verification.method,
                None if each.verification is None else each.verification.verified_at,
            )
            for each in body.identifiers
        ),
        received_at=body.received_at,
        external_reference=body.external_reference,
        submitted_by=submitted_by,
        idempotency_key=idempotency_key,
        scopes=tuple(body.scopes),
    )


class LookupBody(Body):
    """The identifier of the person to find."""

    identifier: SentIdentifier


class LateVerificationBody(Body):
    """An identifier of the request, by its id, that was verified since."""

    id: UUID
    method: VerificationMethod
    verified_at: PastInstant


class DoubtDecisionBody(Body):
    """The decision of one doubt: the identifier or link is the person's (`keep`), or isn't (`drop`)."""

    doubt: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}(\.[0-9]{1,9}(-[0-9]{1,9})?)?$")] = Field(
        description="the doubt's id", examples=["low_confidence.1-4"]
    )
    decision: DoubtDecision


class ReviewBody(Body):
    """`continue` with a decision for each open doubt, or `link` to the same person's earlier request."""

    decision: Literal["continue", "link"]
    doubts_version: int | None = Field(
        None, ge=0, le=2**31 - 1, description="the `doubts_version` of the request that you examined"
    )
    decisions: list[DoubtDecisionBody] = Field(
        default_factory=list, max_length=1000, description="exactly one for each open doubt; there is no default"
    )
    drop: list[UUID] = Field(
        default_factory=list, max_length=1000, description="further identifiers that aren't the person's"
    )
    verify: list[LateVerificationBody] = Field(default_factory=list, max_length=MAX_IDENTIFIERS)
    request_id: UUID | None = Field(None, description="with `link`: the earlier request")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "decision": "continue",
                "doubts_version": 1,
                "decisions": [{"doubt": "low_confidence.1-4", "decision": "drop"}],
            }
        }
    )

    @model_validator(mode="after")
    def _one_decision(self) -> ReviewBody:
        if (self.decision == "link") != (self.request_id is not None):
            raise PydanticCustomError("request_id_with_link_only", "request_id goes with link, and only with it")
        if self.decision == "link" and (self.drop or self.verify or self.decisions):
            raise PydanticCustomError("nothing_else_with_link", "link neither decides, drops nor verifies")
        return self


def review_of(body: ReviewBody) -> Review:
    """Return the body as the use case takes it."""
    return Review(
        decisions=[(each.doubt, each.decision) for each in body.decisions],
        doubts_version=body.doubts_version,
        drop=body.drop,
        verify=[LateVerification(each.id, each.method, each.verified_at) for each in body.verify],
    )


class ApproveBody(Body):
    """The hash of the plan that the caller has examined."""

    plan_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(examples=["0" * 64])


class DenyBody(Body):
    """The reason of the denial, as a code of the Data Rights Protocol."""

    reason: DenialReason


class ExtendBody(Body):
    """The reason of the extension."""

    reason: ExtensionReason


class ResolveBody(Body):
    """A human's decision about a parked step, and its reason."""

    decision: Resolution
    reason: ResolutionReason


class HoldBody(Body):
    """The identifiers of a person, the reason of the hold, and its end.

    Without `until` the hold lasts until it is lifted.
    """

    identifiers: list[SentIdentifier] = Field(min_length=1, max_length=MAX_IDENTIFIERS)
    reason: HoldReason
    until: ComingInstant | None = None


class ListQuery(BaseModel):
    """Filters of the list of requests."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    state: Literal["open", "in_progress", "fulfilled", "denied", "revoked", "expired"] | None = None
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")] | None = None
    kind: RequestKind | None = None
    regime: RegimeCode | None = None
    overdue: bool | None = None
    parked: bool | None = Field(None, description="whether a step waits for a human")
    external_reference: Reference | None = Field(None, description="requests of several API keys may have it")
    import_id: UUID | None = None
    respond_before: AnyInstant | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = None


class ShowQuery(BaseModel):
    """The parts of a request to show."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    masks: bool = Field(True, description="show masked identifiers, which is audited")


class HoldsQuery(BaseModel):
    """Filters of the list of holds."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    include_lifted: bool = False


class ImportsQuery(BaseModel):
    """A page of the list of imports."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = None


class RefusedQuery(BaseModel):
    """A page of an import's refused lines."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    after: int = Field(0, ge=0, le=2**31 - 1, description="the `next_after` of the previous answer")
    limit: int = Field(200, ge=1, le=1000)
