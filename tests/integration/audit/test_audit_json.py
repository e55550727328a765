"""Every `expunge audit` command that prints a result prints it as one JSON document with --json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from tests.company import Company


def test_audit_commands_print_one_json_document(
    company: Company, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, engine in (("DATABASE", company.stores.engine), ("KEY_DATABASE", company.stores._key_engine)):
        monkeypatch.setenv(f"EXPUNGE_{name}_URL", engine.url.render_as_string(hide_password=False))

    def run(*arguments: str, code: int = 0) -> Any:
        command = ["audit", *arguments, "--json", "--config", str(company.settings.origin)]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    company.submit(company.world.ordinary[0])
    anchored = run("anchor")
    assert (anchored["size"] > 0, anchored["published"]) == (True, ["file"])
    compared = run("reconcile")
    assert (compared["agree"], compared["unreachable"], compared["conflicts"]) == (["file"], [], [])
    accepted = run("reconcile", "--accept", "--operator", "ada")
    assert (accepted["accepted"], accepted["still_open"]) == (True, [])

    out = tmp_path / "audit.jsonl"
    exported = run("export", "--out", str(out))
    lines = out.read_bytes().splitlines()
    assert exported["entries"] == sum(line.startswith(b'{"entry":') for line in lines)
    assert (exported["file"], exported["manifest"]) == ("audit.jsonl", None)
    table = run("export", "--out", str(tmp_path / "log.csv"), "--format", "csv")
    assert table["manifest"] == "log.csv.manifest"
    reported = run("report", "metrics", "--period", "2026", "--out", str(tmp_path / "metrics.html"))
    assert (reported["file"], reported["manifest"]) == ("metrics.html", "metrics.html.manifest")

    replayed = run("replay", "--export", str(out))
    assert (replayed["differences"], replayed["entries"] >= exported["entries"]) == ([], True)
    assert run("prune", "--operator", "ada") == {"removed": 0, "begins_at": 0}
    rotated = run("rotate-key", "--operator", "ada")
    assert rotated["old_key"] != rotated["new_key"]
    assert rotated["handover_note"].startswith("audit-handover-")

    with company.stores.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE requests SET state = 'denied'")
    (difference,) = run("replay", code=1)["differences"]
    assert (difference["field"], difference["logged"], difference["stored"]) == ("state", "open", "denied")
