"""`expunge audit certificate`: the file's ending says what is written into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli.audit import verify_audit
from service.cli.main import app
from service.store.encryption.secrets import audit_signing_key
from tests.integration.api.conftest import Office


def fetch(office: Office, request: object, out: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setenv("EXPUNGE_API_KEY", office.key.token)
    monkeypatch.setenv("COLUMNS", "240")
    return CliRunner().invoke(app, ["audit", "certificate", str(request), "--out", str(out), "--url", office.url])


@pytest.mark.parametrize("name", ["x.pdf", "x.PDF", "x.json", "x"])
def test_the_ending_decides(name: str, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = office.submit(external_reference="case-2041")
    office.call("POST", f"/v1/requests/{request}/deny", {"reason": "no_match"})
    out = tmp_path / name
    done = fetch(office, request, out, monkeypatch)
    assert done.exit_code == 0, done.output
    content = out.read_bytes()
    assert content.startswith(b"%PDF-" if name.lower().endswith("pdf") else b'{"certificate"')
    start = content.index(b'{"certificate"')
    (tmp_path / "certificate.json").write_bytes(content[start : content.index(b"\n", start) + 1])
    (tmp_path / "audit.pub").write_text(f"{audit_signing_key(office.settings).trusted}\n")
    assert verify_audit.main(["--certificate", str(tmp_path / "certificate.json")]) == 0


def test_no_file_is_left_where_there_is_no_certificate(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.pdf"
    assert fetch(office, office.submit(), out, monkeypatch).exit_code == 1
    assert not list(tmp_path.glob("*.pdf"))
