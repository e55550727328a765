"""`expunge audit export|report|print` as an auditor meets them: files that verify, or none."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from service.cli.main import app
from tests.company import Company

Run = Callable[..., Result]
YEAR = str(datetime.now(UTC).year)


@pytest.fixture
def run(company: Company, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, engine in (("DATABASE", company.stores.engine), ("KEY_DATABASE", company.stores._key_engine)):
        monkeypatch.setenv(f"EXPUNGE_{name}_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("COLUMNS", "240")

    def call(*arguments: str) -> Result:
        needs_config = arguments[0] in ("export", "report")
        config = ["--config", str(company.settings.origin)] if needs_config else []
        return CliRunner().invoke(app, ["audit", *arguments, *config])

    return call


def test_an_auditors_day(company: Company, run: Run, tmp_path: Path) -> None:
    person = company.world.ordinary[0]
    company.submit(person)
    company.drive()
    for form in ("jsonl", "csv", "parquet"):
        for name, more in (("all", ()), ("part", ("--regime", "gdpr", "--from", f"{YEAR}-01-01"))):
            out = tmp_path / f"{name}.{form}"
            done = run("export", "--format", form, "--out", str(out), *more)
            assert done.exit_code == 0, done.output
            manifest = () if form == "jsonl" else ("--manifest", f"{out}.manifest")
            verified = run("verify", str(out), *manifest)
            assert verified.exit_code == 0, verified.output
            content = out.read_bytes()
            for value in person.residue_values:
                assert value.encode() not in content
    entries = (tmp_path / "part.jsonl").read_bytes().count(b'"entry":')
    # Every export logs itself, but not under a law: these three hold the same.
    assert (tmp_path / "part.csv").read_bytes().count(b"\r\n") == entries + 1
    with duckdb.connect() as connection:
        counted = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(tmp_path / "part.parquet")])
        assert counted.fetchone() == (entries,)
    for name in ("request-log", "metrics", "recipients", "lateness", "systems"):
        for form in ("json", "csv", "html"):
            out = tmp_path / f"{name}.{form}"
            done = run("report", name, "--period", YEAR, "--format", form, "--out", str(out))
            assert done.exit_code == 0, done.output
            assert run("verify", str(out), "--manifest", f"{out}.manifest").exit_code == 0
            other = tmp_path / "other"
            other.write_bytes(out.read_bytes() + b" ")
            assert run("verify", str(other), "--manifest", f"{out}.manifest").exit_code == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "request-log.csv").read_text())))
    assert [row["response"] for row in rows] == ["complied"]
    told = json.loads((tmp_path / "recipients.json").read_text())["rows"]
    assert {row["system"] for row in told} <= {row.name for row in company.rows("SELECT name FROM systems")}
    assert told
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--format", "xml", "--out", "x"),
        ("export", "--from", "yesterday", "--out", "x"),
        ("export", "--from", f"{YEAR}-01-01T00:00:00", "--out", "x"),
        ("report", "nothing", "--period", YEAR, "--out", "x"),
        ("report", "metrics", "--period", f"{YEAR}-99", "--out", "x"),
        ("report", "metrics", "--period", YEAR, "--format", "pdf", "--out", "x"),
        ("print", "nothing.json", "--out", "x"),
        ("export", "--format", "csv", "--out", "x.parquet"),
        ("report", "metrics", "--period", YEAR, "--format", "json", "--out", "x.html"),
    ],
)
def test_what_cannot_be_meant_leaves_no_file_and_no_entry(
    arguments: tuple[str, ...], company: Company, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _logged(company)
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert _logged(company) == before
    assert not list(tmp_path.glob("x*"))


def _logged(company: Company) -> int:
    with company.stores.engine.begin() as connection:
        counted: int = connection.execute(text("SELECT count(*) FROM audit_pending")).scalar_one()
        return counted


def test_a_broken_log_gives_no_table(company: Company, run: Run, tmp_path: Path) -> None:
    assert run("export", "--out", str(tmp_path / "first.jsonl")).exit_code == 0
    with company.stores.engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_leaves DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE audit_leaves SET entry = set_byte(entry, 30, 0) WHERE index = 0"))
    for form in ("csv", "parquet"):
        out = tmp_path / f"x.{form}"
        done = run("export", "--format", form, "--out", str(out))
        assert (done.exit_code, "THE AUDIT LOG IS BROKEN" in done.output) == (1, True), (done.output, done.exception)
        assert list(tmp_path.glob("x*")) == []
    assert run("report", "metrics", "--period", YEAR, "--out", str(tmp_path / "r")).exit_code == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("export", "--out", "log.csv"), b"index,"),
        (("export", "--out", "log.parquet"), b"PAR1"),
        (("export", "--out", "log"), b'{"'),
        (("report", "metrics", "--period", YEAR, "--out", "m.csv"), b"year,"),
        (("report", "metrics", "--period", YEAR, "--out", "m.json"), b"{"),
        (("report", "metrics", "--period", YEAR, "--out", "m"), b"<!DOCTYPE html>"),
    ],
)
def test_a_files_ending_says_its_format(
    arguments: tuple[str, ...], begins: bytes, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert Path(arguments[-1]).read_bytes().startswith(begins)
