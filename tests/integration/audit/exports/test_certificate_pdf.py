"""A certificate on paper: everything that an auditor asks is on the page, and the page carries its own proof."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit.exports.certificate_pdf import NotACertificate, print_certificate
from service.cli.audit import verify_audit
from service.domain.audit.entry import AuditEntry
from service.domain.audit.merkle import leaf_hash, root_of
from service.domain.audit.proof_bundle import ProvenEntry, seal_certificate
from service.domain.audit.signed_note import SigningKey, sign_checkpoint
from service.domain.requests.certificate import (
    CertifiedIdentifier,
    CertifiedPlan,
    CertifiedRequest,
    CertifiedStep,
    certificate_claims,
)

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = SigningKey("expunge.example/log", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
SUBJECT = "ab" * 16
REQUEST = UUID(int=7)


def step(system: str, state: str, **more: Any) -> CertifiedStep:
    ended = state not in ("accepted", "parked")
    facts: dict[str, Any] = {
        "system": system,
        "connector": "zendesk",
        "state": state,
        "reason": None,
        "ended_at": AT + timedelta(days=2) if ended else None,
        "look_again_at": None if ended else AT + timedelta(days=9),
        "attempts": 3,
        "erased": {"ticket": 41},
        "left_over": {},
        "not_covered": (),
    }
    return CertifiedStep(**(facts | more))


def certificate(controller: str = "Analytical Engines", *, steps: tuple[CertifiedStep, ...] | None = None) -> bytes:
    request = CertifiedRequest(
        id=str(REQUEST),
        subject=SUBJECT,
        kind="erasure",
        regime="gdpr",
        state="fulfilled",
        reason=None,
        received_at=AT - timedelta(days=3),
        accepted_at=AT - timedelta(days=2),
        respond_by=AT + timedelta(days=60),
        extended_at=AT + timedelta(hours=5),
        extension_reason="complexity",
        overdue_at=None,
        answered_at=AT + timedelta(days=4),
        sealed_at=None,
        covered_by=None,
        external_reference="case-2041",
    )
    claims = certificate_claims(
        request,
        [CertifiedIdentifier("email", "submitted", "planned", "email_link", AT)],
        [CertifiedPlan(1, "cd" * 32, AT, ["too_many_records"], "key:deadbeef", AT + timedelta(hours=1))],
        steps
        or (
            step("support", "erased_verified", not_covered=("backups_of_the_vendor",)),
            step("billing", "retained", reason="legal_obligation", left_over={"invoice": 17}),
            step("mail", "accepted"),
        ),
        controller=controller,
        issued_at=AT + timedelta(days=5),
        blinding="ef" * 16,
    )
    data = {"reason": "locating"}
    entry = AuditEntry("request_in_progress", "request", str(REQUEST), 1, None, AT, "worker", SUBJECT, data)
    note = sign_checkpoint(KEY, 1, root_of([leaf_hash(entry.encode())]))
    return seal_certificate(claims, [ProvenEntry(0, entry.encode(), ())], note, KEY)


def shown(pdf: bytes) -> str:
    """The text of the pages: what the content streams show, which aren't compressed."""
    pieces = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", pdf)
    return " ".join(" ".join(re.sub(rb"\\(.)", rb"\1", piece).decode("latin-1") for piece in pieces).split())


def test_the_page_answers_what_an_auditor_asks() -> None:
    text = shown(print_certificate(certificate()))
    for answer in (
        "Analytical Engines",
        str(REQUEST),
        "Case reference case-2041",
        "2026-11-19 12:00:00",
        "2026-11-22 17:00:00, complexity",
        "email link",
        "key:deadbeef, 2026-11-22",
        "too many records",
        "support (zendesk): erased verified",
        "backups of the vendor",
        "billing (zendesk): retained",
        "legal obligation",
        "17 invoice",
        "41 ticket",
        "mail (zendesk): accepted",
        "no; looked at again 2026-12-01 12:00:00",
        "Not final: 1 of 3 systems have not ended",
        "request in progress",
        "erased; a later look by every identifier found nothing",
    ):
        assert answer in text, answer


def test_it_names_the_file_that_it_carries_by_its_hash() -> None:
    content = certificate()
    pdf = print_certificate(content)
    # On every page, and in the table.
    assert shown(pdf).count(hashlib.sha256(content).hexdigest()) >= 2
    assert content in pdf


def test_the_attachment_verifies_offline_and_a_changed_one_does_not(tmp_path: Path) -> None:
    pdf = print_certificate(certificate())
    start = pdf.index(b'{"certificate"')
    attached = pdf[start : pdf.index(b"\n", start) + 1]
    (tmp_path / "log.pub").write_text(f"{KEY.trusted}\n")

    def verdict(content: bytes) -> int:
        (tmp_path / "certificate.json").write_bytes(content)
        command = [sys.executable, verify_audit.__file__, "--certificate", "certificate.json", "--key", "log.pub"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60).returncode

    assert verdict(attached) == 0
    assert verdict(attached.replace(b'"retained"', b'"absent"', 1)) == 1


def test_the_same_certificate_gives_the_same_bytes_on_any_day(monkeypatch: pytest.MonkeyPatch) -> None:
    content = certificate()
    first = print_certificate(content)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert print_certificate(content) == first
    # The only date is the certificate's own.
    assert b"/CreationDate (D:20261127120000" in first
    assert print_certificate(certificate("Another")) != first


def test_a_name_in_any_script_can_be_printed_and_the_page_says_what_it_lacks() -> None:
    text = shown(print_certificate(certificate("Škoda Čapek Ω")))
    assert "Skoda Capek ?" in text
    assert "A character that this page's font lacks" in text
    plain = shown(print_certificate(certificate("Why? Ärzte")))
    assert "Why? Ärzte" in plain
    assert "A character that this page's font lacks" not in plain


def test_no_page_sends_its_reader_anywhere() -> None:
    pdf = print_certificate(certificate())
    assert b"http" not in pdf.lower()
    assert b"/URI" not in pdf
    assert b"/JavaScript" not in pdf


def test_many_systems_go_on_over_pages() -> None:
    pdf = print_certificate(certificate(steps=tuple(step(f"system-{n}", "absent") for n in range(40))))
    text = shown(pdf)
    assert all(f"system-{n} (zendesk): absent" in text for n in range(40))
    pages = pdf.count(b"/Type /Page\n")
    assert pages > 3
    assert f"page {pages} of {pages}" in text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]\n",
        b'{"format":"expunge-certificate/1"}\n',
        json.dumps(json.loads(certificate())).encode(),
        certificate().replace(b"expunge-certificate/1", b"expunge-certificate/2"),
    ],
)
def test_only_a_certificate_is_printed(content: bytes) -> None:
    with pytest.raises(NotACertificate):
        print_certificate(content)
