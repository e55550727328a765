"""`expunge audit anchor|reconcile|replay|prune|rotate-key` as an operator meets them, and what the graphs show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from service.api.routes.metrics import Metrics
from service.cli.main import app
from service.cli.running.installation import unreconciled
from service.store.anchors.configured import default_directory
from service.store.anchors.file import HEADS_FILE
from tests.company import Company

Run = Callable[..., Result]


@pytest.fixture
def run(company: Company, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, engine in (("DATABASE", company.stores.engine), ("KEY_DATABASE", company.stores._key_engine)):
        monkeypatch.setenv(f"EXPUNGE_{name}_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("COLUMNS", "240")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["audit", *arguments, "--config", str(company.settings.origin)])

    return call


def edit(company: Company, statement: str) -> None:
    with company.stores.engine.begin() as connection:
        connection.execute(text(statement))


def gauges(company: Company) -> dict[str, float]:
    lines = Metrics(company.stores, company.settings).exposition().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def forget_the_end(company: Company) -> None:
    """The store as a restored one: its newest head was never signed there."""
    edit(company, "ALTER TABLE audit_checkpoints DISABLE TRIGGER USER")
    edit(company, "DELETE FROM audit_checkpoints WHERE size > (SELECT min(size) FROM audit_checkpoints)")
    edit(company, "UPDATE anchored_heads SET size = (SELECT min(size) FROM audit_checkpoints)")


def test_an_operators_day(company: Company, run: Run, tmp_path: Path) -> None:
    anchored = run("anchor")
    assert anchored.exit_code == 0, anchored.output
    assert "new at: file" in anchored.stdout
    assert (default_directory(company.settings) / HEADS_FILE).read_bytes().count(b"\n") == 1

    company.submit(company.world.ordinary[0])
    company.drive()
    assert run("anchor").exit_code == 0
    assert run("reconcile").exit_code == 0
    replayed = run("replay")
    assert (replayed.exit_code, "difference 0" in replayed.stdout) == (0, True), replayed.output

    out = tmp_path / "audit.jsonl"
    assert run("export", "--out", str(out)).exit_code == 0
    assert run("replay", "--export", str(out)).exit_code == 0
    broken = tmp_path / "broken" / "audit.jsonl"
    broken.parent.mkdir()
    (broken.parent / "audit.pub").write_bytes((tmp_path / "audit.pub").read_bytes())
    broken.write_bytes(out.read_bytes().replace(b"erasure", b"access ", 1))
    assert run("replay", "--export", str(broken)).exit_code == 1

    first = tmp_path / "first.pub"
    first.write_bytes((tmp_path / "audit.pub").read_bytes())
    rotated = run("rotate-key", "--operator", "ada")
    assert rotated.exit_code == 0, rotated.output
    assert run("anchor").exit_code == 0
    assert run("export", "--out", str(out)).exit_code == 0
    (note,) = tmp_path.glob("audit-handover-*.txt")
    assert note.name in rotated.stdout
    handed = ["--key", str(first), "--handover", str(note)]
    for ending, code in ([], 0), (handed[:2], 1), (handed, 0):
        verified = CliRunner().invoke(app, ["audit", "verify", str(out), *ending])
        assert verified.exit_code == code, verified.output
    assert run("replay", "--export", str(out), *handed).exit_code == 0
    pruned = run("prune", "--operator", "ada")
    assert (pruned.exit_code, "0 entries removed" in pruned.stdout) == (0, True), pruned.output
    assert run("replay").exit_code == 0

    edit(company, "UPDATE steps SET state = 'parked'")
    differing = run("replay")
    assert differing.exit_code == 1
    assert "difference 0" not in differing.stdout


def test_after_a_restore_the_operator_is_told_and_accepts_by_name(company: Company, run: Run) -> None:
    run("anchor")
    company.submit(company.world.ordinary[0])
    run("anchor")
    assert unreconciled(company.settings, company.stores) == ()
    forget_the_end(company)
    assert [reason.split(":")[0] for reason in unreconciled(company.settings, company.stores)] == ["file"]
    shown = run("reconcile")
    assert (shown.exit_code, "DISAGREES" in shown.stdout) == (1, True)
    assert gauges(company)['expunge_anchor_conflicts{anchor="file",code="store_behind_anchor"}'] == 1
    assert run("reconcile", "--accept").exit_code == 2
    assert run("reconcile", "--accept", "--operator", "Ada Byron").exit_code == 1
    assert unreconciled(company.settings, company.stores) != ()
    accepted = run("reconcile", "--accept", "--operator", "ada")
    assert accepted.exit_code == 0, accepted.output
    assert unreconciled(company.settings, company.stores) == ()
    assert not [name for name in gauges(company) if name.startswith("expunge_anchor_conflicts{")]


def test_the_graphs_show_the_sequencers_and_the_anchors_lag_and_a_refused_checkpoint(
    company: Company, run: Run
) -> None:
    waiting = gauges(company)
    assert waiting["expunge_audit_oldest_pending_seconds"] > 0
    edit(company, "UPDATE audit_pending SET created_at = clock_timestamp() - interval '1 hour'")
    assert gauges(company)["expunge_audit_oldest_pending_seconds"] >= 3600
    run("anchor")
    calm = gauges(company)
    assert calm["expunge_audit_oldest_pending_seconds"] == 0
    assert calm['expunge_anchor_lag_entries{anchor="file"}'] == 0
    assert not [name for name in calm if name.startswith("expunge_audit_findings{")]
    company.submit(company.world.ordinary[0])
    assert run("export", "--out", "/dev/null/nowhere").exit_code != 0
    edit(company, "ALTER TABLE audit_checkpoints DISABLE TRIGGER USER")
    edit(company, "UPDATE audit_checkpoints SET root = decode(repeat('00', 32), 'hex')")
    refused = run("anchor")
    assert (refused.exit_code, "BROKEN" in refused.stderr) == (1, True)
    assert gauges(company)['expunge_audit_findings{code="checkpoint_columns_differ"}'] == 1


def test_a_key_that_cannot_be_used_ends_with_two(company: Company, run: Run) -> None:
    (company.settings.service.data_directory / "keys" / "audit.pub").write_text("somebody else's\n")
    ended: Any = run("anchor")
    assert (ended.exit_code, "audit.pub" in ended.stderr) == (2, True)
