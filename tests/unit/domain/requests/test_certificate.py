"""Certificates: what they claim, that the claims can be signed, and that nothing open is called an outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from service.domain.audit.canonical_json import decode_canonical, encode_canonical
from service.domain.requests.certificate import (
    CertifiedIdentifier,
    CertifiedPlan,
    CertifiedRequest,
    CertifiedStep,
    certificate_claims,
    claims_hash,
)

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REQUEST = CertifiedRequest(
    id="r",
    subject="ab" * 16,
    kind="erasure",
    regime="gdpr",
    state="fulfilled",
    reason=None,
    received_at=AT,
    accepted_at=AT,
    respond_by=AT,
    extended_at=AT,
    extension_reason="complexity",
    overdue_at=None,
    answered_at=AT,
    sealed_at=None,
    covered_by=None,
    external_reference="case-2041",
)


def _step(state: str, reason: str | None = None) -> CertifiedStep:
    return CertifiedStep(
        system="support",
        connector="zendesk",
        state=state,
        reason=reason,
        ended_at=None if state == "accepted" else AT,
        look_again_at=AT if state == "accepted" else None,
        attempts=3,
        erased={"Bücher": 2, "ticket": 1},
        left_over={"ticket:locked": 1},
        not_covered=("z", "a"),
    )


def _claims(*steps: CertifiedStep, blinding: str = "00" * 16) -> Any:
    identifiers = [
        CertifiedIdentifier("email", "submitted", "planned", "email_link", AT),
        CertifiedIdentifier("phone", "graph", "planned", None, None),
    ]
    plans = [CertifiedPlan(1, "cd" * 32, AT, ["too_many_records"], "key:k", AT)]
    return certificate_claims(
        REQUEST, identifiers, plans, steps, controller="Analytical Engines", issued_at=AT, blinding=blinding
    )


def test_claims_have_one_encoding() -> None:
    claims = _claims(_step("erased_verified"))

    assert decode_canonical(encode_canonical(claims)) == claims
    assert len(claims_hash(claims)) == 64
    assert claims_hash(claims) != claims_hash(_claims(_step("absent")))


def test_an_open_state_is_no_outcome() -> None:
    claims = _claims(_step("accepted"), _step("retained", "legal_obligation"))
    accepted, retained = claims["systems"]

    assert (accepted["outcome"], accepted["standing"], claims["open_systems"]) == (None, "accepted", 1)
    assert accepted["look_again_at"] == "2026-11-22T12:00:00.000000Z"
    assert (retained["outcome"], retained["exempt_for"]) == ("retained", "legal_obligation")
    assert retained["erased"] == [{"what": "Bücher", "count": 2}, {"what": "ticket", "count": 1}]
    assert retained["not_covered"] == ["a", "z"]


def test_verification_extension_and_approval_are_told() -> None:
    claims = _claims()

    assert claims["identifiers"][0]["verification"] == {"method": "email_link", "at": "2026-11-22T12:00:00.000000Z"}
    assert claims["identifiers"][1]["verification"] is None
    assert claims["request"]["extension"]["reason"] == "complexity"
    assert claims["plans"][0]["approval"]["by"] == "key:k"
    assert claims["final"] is False


def test_the_logged_hash_confirms_no_guess_of_the_case_reference() -> None:
    """Everything else in the claims can be read from the log, so only what is random hides the reference."""
    one, other = _claims(blinding="ab" * 16), _claims(blinding="cd" * 16)
    assert one["request"]["external_reference"] == "case-2041"
    assert one == other | {"blinding": "ab" * 16}
    assert claims_hash(one) != claims_hash(other)
