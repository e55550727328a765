"""The claims of a certificate about one request: deadlines, plans, approvals, each system's outcome.

Decides the wording of the claims. Identifiers appear as kinds with the method of their verification. The company's own
case number (`external_reference`) may identify the person to the company: the certificate shows it, because its readers
file by it, and the audit log never holds it, not even as a hash against which a guess could be tested. The proofs are
in the envelope (`domain.audit.proof_bundle`). Times have the form of the audit log's instants; counts are lists of
pairs, because a vendor chooses the name of an object and it may be any text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from connectors.base.transitions.states import ENDED, StepState
from service.domain.audit.canonical_json import JsonValue, encode_canonical
from service.domain.audit.schema import instant_text

VERSION = 1


@dataclass(frozen=True)
class CertifiedIdentifier:
    """An identifier's kind, origin and verification; the method is None for one that the graph added."""

    kind: str
    origin: str
    use: str
    verification_method: str | None
    verified_at: datetime | None


@dataclass(frozen=True)
class CertifiedPlan:
    """One frozen version of the plan, with its approver if an approval was needed."""

    version: int
    hash: str
    frozen_at: datetime
    approval_reasons: Sequence[str]
    approved_by: str | None
    approved_at: datetime | None


@dataclass(frozen=True)
class CertifiedStep:
    """One system's outcome, or the present state of its step."""

    system: str
    connector: str
    state: str
    reason: str | None
    ended_at: datetime | None
    look_again_at: datetime | None
    attempts: int
    erased: Mapping[str, int]
    left_over: Mapping[str, int]
    not_covered: Sequence[str]


@dataclass(frozen=True)
class CertifiedRequest:
    """The request itself. `subject` is its pseudonym in the audit log."""

    id: str
    subject: str
    kind: str
    regime: str
    state: str
    reason: str | None
    received_at: datetime
    accepted_at: datetime
    respond_by: datetime
    extended_at: datetime | None
    extension_reason: str | None
    overdue_at: datetime | None
    answered_at: datetime | None
    sealed_at: datetime | None
    covered_by: str | None
    external_reference: str | None = None
    scopes: Sequence[str] = ()


def certificate_claims(
    request: CertifiedRequest,
    identifiers: Sequence[CertifiedIdentifier],
    plans: Sequence[CertifiedPlan],
    steps: Sequence[CertifiedStep],
    *,
    controller: str,
    issued_at: datetime,
    blinding: str,
) -> dict[str, JsonValue]:
    """Return the claims for the envelope. `final`: the request is sealed and can't change any more.

    `blinding` is random hex of at least 128 bits, new for each certificate. The log has the claims' hash, and the
    company's case number may be easy to guess; without `blinding` the log alone could confirm a guess.
    """
    return {
        "version": VERSION,
        "blinding": blinding,
        "subject": request.subject,
        "final": request.sealed_at is not None,
        "issued_at": instant_text(issued_at),
        "controller": controller,
        "request": _request(request),
        "identifiers": [_identifier(identifier) for identifier in identifiers],
        "plans": [_plan(plan) for plan in plans],
        "systems": [_step(step) for step in steps],
        "open_systems": sum(step.state not in ENDED for step in steps),
    }


def claims_hash(claims: Mapping[str, JsonValue]) -> str:
    """Return SHA-256 of the claims' canonical form, as the audit entry of the certificate holds it."""
    return hashlib.sha256(encode_canonical(claims)).hexdigest()


def _request(request: CertifiedRequest) -> JsonValue:
    extension: JsonValue = None
    if request.extended_at is not None:
        extension = {"at": instant_text(request.extended_at), "reason": request.extension_reason}
    return {
        "id": request.id,
        "external_reference": request.external_reference,
        "kind": request.kind,
        "scopes": list(request.scopes),
        "regime": request.regime,
        "state": request.state,
        "reason": request.reason,
        "received_at": instant_text(request.received_at),
        "accepted_at": instant_text(request.accepted_at),
        "respond_by": instant_text(request.respond_by),
        "extension": extension,
        "overdue_at": _instant(request.overdue_at),
        "answered_at": _instant(request.answered_at),
        "sealed_at": _instant(request.sealed_at),
        "covered_by": request.covered_by,
    }


def _identifier(identifier: CertifiedIdentifier) -> JsonValue:
    verification: JsonValue = None
    if identifier.verification_method is not None:
        verification = {"method": identifier.verification_method, "at": _instant(identifier.verified_at)}
    return {
        "kind": identifier.kind,
        "origin": identifier.origin,
        "use": identifier.use,
        "verification": verification,
    }


def _plan(plan: CertifiedPlan) -> JsonValue:
    approval: JsonValue = None
    if plan.approved_at is not None:
        approval = {"by": plan.approved_by, "at": instant_text(plan.approved_at)}
    return {
        "version": plan.version,
        "hash": plan.hash,
        "frozen_at": instant_text(plan.frozen_at),
        "approval_reasons": list(plan.approval_reasons),
        "approval": approval,
    }


def _step(step: CertifiedStep) -> JsonValue:
    """Return the claims about one step.

    `outcome` is None until the step ended. `exempt_for` repeats the reason of a retained step.
    """
    ended = step.state in ENDED
    return {
        "system": step.system,
        "connector": step.connector,
        "outcome": step.state if ended else None,
        "standing": None if ended else step.state,
        "reason": step.reason,
        "exempt_for": step.reason if step.state == StepState.RETAINED else None,
        "ended_at": _instant(step.ended_at),
        "look_again_at": _instant(step.look_again_at),
        "attempts": step.attempts,
        "erased": _counts(step.erased),
        "left_over": _counts(step.left_over),
        "not_covered": sorted(step.not_covered),
    }


def _counts(counts: Mapping[str, int]) -> JsonValue:
    return [{"what": name, "count": count} for name, count in sorted(counts.items())]


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)
