"""Evidence over HTTP: streamed, resumed where it broke, audited, and only for those who may read the audit log."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.cli.audit.verify_audit import Key, verify_export, verify_manifest, verify_slice
from service.domain.access.api_key import Scope
from service.domain.requests.certificate import claims_hash
from service.store.audit_log.troubles import end_signing_trouble, note_signing_trouble
from service.store.encryption.secrets import audit_signing_key
from tests.integration.api.conftest import Office

PATHS = ("/v1/audit/export", "/v1/audit/export/manifest?format=csv", "/v1/audit/reports/metrics?period=2026")


@pytest.fixture
def key(office: Office) -> Key:
    return Key(str(audit_signing_key(office.settings).trusted))


def taken(office: Office, path: str) -> Any:
    answer = office.call("GET", path)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_export_is_complete_and_logs_its_reader(office: Office, key: Key) -> None:
    request_id = office.submit()
    answer = taken(office, "/v1/audit/export")
    assert verify_export(io.BytesIO(answer.content), key)
    lines = [json.loads(line) for line in answer.content.splitlines()]
    last = lines[-2]["entry"]
    assert (last["event"], last["actor"]) == ("export_made", f"key:{office.key.id}")
    assert answer.headers["Log-Size"] == str(len(lines) - 2)
    submitted = next(line["entry"] for line in lines[1:-1] if line["entry"]["object_id"] == str(request_id))
    assert submitted["data"]["received_at"]


@pytest.mark.parametrize("query", ["", "&regime=gdpr", "&from=2026-01-01T00:00:00Z", "&format=csv", "&system=support"])
def test_a_transfer_that_broke_goes_on_and_gives_the_same_file(query: str, office: Office, key: Key) -> None:
    for _ in range(3):
        office.submit(f"{uuid4().hex}@example.test")
    first = taken(office, f"/v1/audit/export?start=0{query}")
    size = first.headers["Log-Size"]
    again = taken(office, f"/v1/audit/export?size={size}{query}")
    assert again.content == first.content
    assert taken(office, f"/v1/audit/export?start=0{query}").headers["Log-Size"] != size
    rest = taken(office, f"/v1/audit/export?size={size}&start=4{query}")
    assert 0 < len(rest.content) < len(first.content)
    assert first.content.endswith(rest.content)
    if "regime" in query or "from" in query or "system" in query:
        assert verify_slice(io.BytesIO(first.content), key)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_has_its_manifest(form: str, office: Office, key: Key) -> None:
    office.submit()
    table = taken(office, f"/v1/audit/export?format={form}&regime=gdpr")
    where = f"/v1/audit/export/manifest?format={form}&regime=gdpr&size={table.headers['Log-Size']}"
    manifest = taken(office, where)
    said = verify_manifest(io.BytesIO(manifest.content), io.BytesIO(table.content), key)
    assert said.startswith(f"{form} of 1 rows, regime gdpr")


def test_a_report_is_of_the_law_and_period_that_were_asked(office: Office) -> None:
    office.submit()
    year = datetime.now(UTC).year
    found = taken(office, f"/v1/audit/reports/metrics?period={year}").json()
    assert [(row["kind"], row["received"]) for row in found["rows"]] == [("erasure", 1), ("all", 1)]
    assert taken(office, f"/v1/audit/reports/metrics?period={year}&regime=ccpa").json()["rows"] == []
    assert taken(office, f"/v1/audit/reports/metrics?period={year - 1}").json()["rows"] == []
    table = taken(office, f"/v1/audit/reports/request-log?period={year}&format=csv").text
    assert [row["response"] for row in csv.DictReader(io.StringIO(table))] == ["open"]
    page = taken(office, f"/v1/audit/reports/request-log?period={year}&format=html")
    assert "attachment" in page.headers["Content-Disposition"]
    assert page.text.startswith("<!DOCTYPE html>")


def test_every_reading_is_in_the_log(office: Office) -> None:
    before = len(office.rows("SELECT 1 FROM audit_leaves UNION ALL SELECT 1 FROM audit_pending"))
    size = taken(office, "/v1/audit/export").headers["Log-Size"]
    for path in PATHS[1:]:
        taken(office, f"{path}&size={size}")
    taken(office, f"/v1/audit/export?size={size}&start=3")
    entries = taken(office, "/v1/audit/export").content.splitlines()[before + 1 : -1]
    told = [json.loads(line)["entry"] for line in entries]
    assert [(entry["event"], entry["data"].get("what")) for entry in told] == [
        ("export_made", None),
        ("evidence_read", "export.manifest"),
        ("evidence_read", "report.metrics"),
        ("export_made", None),
        ("export_made", None),
    ]
    assert {entry["actor"] for entry in told} == {f"key:{office.key.id}"}


@pytest.mark.parametrize("path", [*PATHS, f"/v1/requests/{UUID(int=7)}/certificate.pdf"])
def test_a_key_without_the_scope_gets_nothing(path: str, office: Office) -> None:
    other = office.new_key(*(scope for scope in Scope if scope is not Scope.AUDIT_READ))
    before = office.rows("SELECT count(*) FROM audit_pending")
    assert office.call("GET", path, key=other).status_code == 403
    assert office.rows("SELECT count(*) FROM audit_pending") == before


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/audit/export?size=999999", 404, "not_found"),
        ("/v1/audit/export?format=parquet&start=1", 422, "invalid"),
        ("/v1/audit/export?from=2026-01-01", 422, "validation"),
        ("/v1/audit/export?regime=none", 422, "validation"),
        ("/v1/audit/export?nothing=1", 422, "validation"),
        ("/v1/audit/export/manifest", 422, "invalid"),
        ("/v1/audit/reports/other?period=2026", 404, "not_found"),
        ("/v1/audit/reports/metrics?period=2026-13", 422, "invalid"),
        ("/v1/audit/reports/metrics", 422, "validation"),
        (f"/v1/requests/{UUID(int=7)}/certificate.pdf", 404, "not_found"),
    ],
)
def test_what_is_refused(path: str, status: int, code: str, office: Office) -> None:
    answer = office.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_damaged_log_never_comes_whole(office: Office) -> None:
    office.submit()
    size = taken(office, "/v1/audit/export").headers["Log-Size"]
    office.write("ALTER TABLE audit_leaves DISABLE TRIGGER USER")
    office.write("UPDATE audit_leaves SET entry = set_byte(entry, 20, 0) WHERE index = 1")
    for query in ("format=jsonl", "format=csv"):
        with office.client.stream(
            "GET",
            f"/v1/audit/export?size={size}&{query}",
            headers={"Authorization": f"Bearer {office.key.token}"},
        ) as answer:
            content = b""
            broke = False
            try:
                for piece in answer.iter_raw():
                    content += piece
            except Exception:
                broke = True
        assert broke, "the transfer ended as if it were whole"
        assert b'"checkpoint"' not in content
    assert office.call("GET", f"/v1/audit/reports/metrics?period=2026&size={size}").status_code == 500


def test_a_certificate_on_paper_carries_the_signed_one(office: Office) -> None:
    request_id = office.submit()
    early = office.call("GET", f"/v1/requests/{request_id}/certificate.pdf")
    assert (early.status_code, early.json()["code"]) == (409, "wrong_state")
    office.call("POST", f"/v1/requests/{request_id}/deny", {"reason": "no_match"})
    answer = taken(office, f"/v1/requests/{request_id}/certificate.pdf")
    assert answer.content.startswith(b"%PDF-")
    assert f'"id":"{request_id}"'.encode() in answer.content
    assert answer.headers["Content-Type"] == "application/pdf"


@pytest.mark.parametrize("path", [*PATHS, "certificate", "certificate.pdf"])
def test_evidence_that_cannot_be_signed_says_why(path: str, office: Office) -> None:
    request_id = office.submit()
    office.call("POST", f"/v1/requests/{request_id}/deny", {"reason": "no_match"})
    path = path if path.startswith("/") else f"/v1/requests/{request_id}/{path}"
    taken(office, path)
    file = office.settings.service.data_directory / "keys" / "audit.key"
    file.chmod(0o640)
    answer = office.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    said = "the audit log can't be signed: audit.key is open to others: its mode must be 0600"
    assert (answer.json()["detail"], answer.headers["Retry-After"]) == (said, "30")
    file.chmod(0o600)
    taken(office, path)


def test_readiness_says_that_evidence_cannot_be_kept(office: Office) -> None:
    assert office.call("GET", "/readyz").status_code == 200
    note_signing_trouble(office.stores.engine, "signing_key_unusable", "audit.key is open to others")
    answer = office.client.get("/readyz")
    detail = "the evidence of what is done can't be kept: signing_key_unusable"
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (503, "unavailable", detail)
    end_signing_trouble(office.stores.engine)
    assert office.client.get("/readyz").status_code == 200


def test_a_certificate_bears_the_case_reference_and_the_log_does_not(office: Office) -> None:
    request_id = office.submit(external_reference="case-2041")
    office.call("POST", f"/v1/requests/{request_id}/deny", {"reason": "no_match"})
    issued = [taken(office, f"/v1/requests/{request_id}/certificate").json()["certificate"] for _ in range(2)]
    assert [claims["request"]["external_reference"] for claims in issued] == ["case-2041"] * 2
    assert len({claims["blinding"] for claims in issued}) == 2
    assert b"(case-2041)" in taken(office, f"/v1/requests/{request_id}/certificate.pdf").content
    exported = taken(office, "/v1/audit/export").text
    assert "case-2041" not in exported
    logged = [json.loads(line)["entry"]["data"] for line in exported.splitlines()[1:-1]]
    hashes = [data["certificate_hash"] for data in logged if "certificate_hash" in data]
    assert hashes[:2] == [claims_hash(claims) for claims in issued]
    for claims in issued:
        guess = claims | {"blinding": "0" * 32}
        assert claims_hash(guess) not in hashes
