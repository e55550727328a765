"""`/v1/suppressions`: check identifiers against the suppression list before they are taken in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from connectors.base.config import IdentifierKind
from service.api.authentication import GuardedRoute, needs
from service.api.dependencies import Context
from service.api.schemas import Body
from service.domain.access.api_key import Scope
from service.domain.audit.schema import instant_text
from service.domain.identity.normalise import EMAIL, MAX_VALUE_CHARACTERS, PHONE
from service.domain.suppression.check import MAX_ITEMS, Doubt, Status, Verdict
from service.suppression.check import CheckedItem, CheckResult, check_suppression

MAX_BODY_BYTES = 2 * 1024 * 1024
"""10,000 e-mail addresses have about 1 MB. Longer values need more than one call."""
_LONGEST_STALENESS = 366 * 86_400
_HEX_DIGITS = {"sha256": 64, "md5": 32}

router = APIRouter(route_class=GuardedRoute, tags=["suppressions"])


class HashAlgorithm(StrEnum):
    """The algorithm of a vendor's hash."""

    SHA256 = "sha256"
    MD5 = "md5"


class SentHash(Body):
    """The hash of a vendor's normal form of an e-mail address or telephone number."""

    algorithm: HashAlgorithm
    hex: str = Field(pattern="^([0-9a-fA-F]{32}|[0-9a-fA-F]{64})$", repr=False, examples=["0" * 64])

    @model_validator(mode="after")
    def _has_its_length(self) -> SentHash:
        if len(self.hex) != _HEX_DIGITS[self.algorithm]:
            raise PydanticCustomError("wrong_hash_length", "sha256 has 64 hex digits and md5 has 32")
        return self


class CheckedItemBody(Body):
    """An identifier: its kind, with either its value or the hash of an e-mail address or telephone number."""

    kind: IdentifierKind = Field(examples=["email"])
    value: str | None = Field(
        None, min_length=1, max_length=MAX_VALUE_CHARACTERS, repr=False, examples=["ada@example.test"]
    )
    hash: SentHash | None = None

    @model_validator(mode="after")
    def _has_one_form(self) -> CheckedItemBody:
        if (self.value is None) == (self.hash is None):
            raise PydanticCustomError("value_or_hash", "exactly one of value and hash is needed")
        if self.hash is not None and self.kind not in (EMAIL, PHONE):
            raise PydanticCustomError("hash_of_email_or_phone_only", "only an email or a phone may be sent as a hash")
        return self


class CheckBody(Body):
    """The identifiers to check, and the staleness that the caller allows."""

    items: list[CheckedItemBody] = Field(min_length=1, max_length=MAX_ITEMS)
    max_staleness_seconds: int | None = Field(
        None,
        ge=0,
        le=_LONGEST_STALENESS,
        description="every answer is `unknown` if the list lags by more; without it no lag is too long",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [
                    {"kind": "email", "value": "ada@example.test"},
                    {"kind": "phone", "value": "+442079460000"},
                    {"kind": "email", "hash": {"algorithm": "sha256", "hex": "0" * 64}},
                ],
                "max_staleness_seconds": 3600,
            }
        }
    )


@dataclass(frozen=True)
class ScopeView:
    """A scope in force, and since when. `erased` is that of an erasure."""

    scope: str
    since: str

    __pydantic_config__ = ConfigDict(
        json_schema_extra={"example": {"scope": "do_not_sell", "since": "2026-11-20T09:31:00.000000Z"}}
    )


@dataclass(frozen=True)
class CheckedItemView:
    """The answer about one identifier.

    An `unknown` one must be treated as suppressed in every scope; its `scopes` are those found.
    """

    status: Status
    scopes: list[ScopeView]
    reason: Doubt | None


@dataclass(frozen=True)
class CheckView:
    """The answers in the order of the items.

    Every request that was accepted before `as_of` is on the list, as far as it needs no human's decision. `as_of` and
    `checked_at` are null if the list couldn't be read.
    """

    checked_at: str | None
    as_of: str | None
    items: list[CheckedItemView]


@router.post(
    "/v1/suppressions/check",
    operation_id="checkSuppressions",
    summary="Check identifiers before they are taken in",
    response_model=CheckView,
    **needs(Scope.SUPPRESSIONS_CHECK, 400, 413, 415, 422, max_body_bytes=MAX_BODY_BYTES),
)
def check(body: CheckBody, context: Context) -> JSONResponse:
    """Say of each identifier whether it is suppressed, with which scopes, and how far the list has come.

    Fails closed: a doubt of any kind is `unknown` with its reason, never `not_suppressed`. A hash is `unknown`, because
    entries that were made of plain values can't be compared with it. A status other than 200 says nothing of anybody.
    """
    staleness = None if body.max_staleness_seconds is None else timedelta(seconds=body.max_staleness_seconds)
    result = check_suppression(context.stores, context.settings, [_item(each) for each in body.items], staleness)
    context.metrics.checked(result.verdicts)
    # A finished answer: the framework would check ten thousand items that we wrote ourselves.
    return JSONResponse(_view(result))


def _item(sent: CheckedItemBody) -> CheckedItem:
    if sent.hash is not None:
        return CheckedItem(sent.kind, sent.hash.hex.lower(), sent.hash.algorithm.value)
    return CheckedItem(sent.kind, sent.value or "")


def _view(result: CheckResult) -> dict[str, object]:
    freshness = result.freshness
    return {
        "checked_at": None if freshness is None else instant_text(freshness.read_at),
        "as_of": None if freshness is None else instant_text(freshness.as_of),
        "items": [_item_view(verdict) for verdict in result.verdicts],
    }


def _item_view(verdict: Verdict) -> dict[str, object]:
    return {
        "status": verdict.status.value,
        "scopes": [{"scope": each.scope, "since": instant_text(each.since)} for each in verdict.scopes],
        "reason": None if verdict.doubt is None else verdict.doubt.value,
    }
