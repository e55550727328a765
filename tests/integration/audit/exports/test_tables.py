"""Tables of the audit log and their manifests: the same as the log, harmless, and signed as a whole."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import Engine

from service.audit.exports.slice import select_entries
from service.audit.exports.table import csv_lines, write_parquet
from service.cli.audit.verify_audit import Broken, Key, verify_manifest
from service.domain.audit.canonical_json import encode_canonical
from service.domain.audit.selection import Selection
from service.domain.audit.signed_note import SigningKey
from service.domain.reports.csv_text import csv_line
from tests.integration.audit.exports.conftest import ALL, DAY
from tests.integration.audit.story import Story


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(
            'SELECT * REPLACE (strftime("at", \'%Y-%m-%dT%H:%M:%S.%fZ\') AS "at") FROM read_parquet(?)', [str(path)]
        ).fetchall()


def test_csv_and_parquet_say_the_same_as_the_log(asked: Any, story: Story, engine: Engine, tmp_path: Path) -> None:
    excerpt = asked()
    table = list(csv.reader(io.StringIO(b"".join(csv_lines(engine, excerpt)).decode())))
    assert write_parquet(engine, excerpt, tmp_path / "a.parquet") == len(story.entries)
    parquet = rows_of(tmp_path / "a.parquet")
    assert len(table) - 1 == len(parquet) == len(story.entries)
    for row, columns, entry in zip(table[1:], parquet, story.entries, strict=True):
        members = json.loads(entry.encode())
        said = dict(zip(table[0], row, strict=True))
        assert json.loads(said.pop("data")) == members.pop("data")
        assert said.pop("leaf_hash") == hashlib.sha256(b"\0" + entry.encode()).hexdigest()
        assert int(said.pop("index")) == story.entries.index(entry)
        del members["format"]
        assert said == {name: "" if value is None else str(value) for name, value in members.items()}
        assert ["" if value is None else str(value) for value in columns] == row


def test_a_parquet_file_has_the_same_bytes_each_time(asked: Any, engine: Engine, tmp_path: Path) -> None:
    excerpt = asked(Selection(regime="gdpr"))
    for name in ("a", "b'; DROP"):
        write_parquet(engine, excerpt, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b'; DROP").read_bytes()
    write_parquet(engine, asked(Selection(regime="ccpa")), tmp_path / "c")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a", "b'; DROP", "c"]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x", " =1", "   @x"]
)
def test_no_cell_is_a_formula(cell: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_line([cell, "end"]).decode(), newline=""))
    assert row == [f"'{cell}", "end"]


def test_harmless_cells_stay_what_they_are() -> None:
    assert csv_line(["a-b", "x=1", -5, None, 'say "x"', "a,b", "é"]) == 'a-b,x=1,-5,,"say ""x""","a,b",é\r\n'.encode()


def test_a_name_in_the_log_that_is_a_formula_is_harmless_in_the_table(engine: Engine, signing_key: SigningKey) -> None:
    story = Story()
    story.system("-2", DAY)
    story.log(engine)
    content = b"".join(csv_lines(engine, select_entries(engine, signing_key, ALL))).decode()
    assert "'-2" in content
    assert not any(cell.startswith("-") for row in csv.reader(io.StringIO(content)) for cell in row)


def manifest_verdict(manifest: bytes, table: bytes, key: SigningKey) -> str:
    return verify_manifest(io.BytesIO(manifest), io.BytesIO(table), Key(str(key.trusted)))


def test_a_manifest_signs_a_table(signed: tuple[bytes, bytes], signing_key: SigningKey) -> None:
    table, manifest = signed
    said = manifest_verdict(manifest, table, signing_key)
    rows = len(table.splitlines()) - 1
    assert said.startswith(f"csv of {rows} rows, regime gdpr")


def test_every_bit_of_a_table_and_its_manifest_matters(signed: tuple[bytes, bytes], signing_key: SigningKey) -> None:
    table, manifest = signed
    for content in signed:
        for place in range(0, len(content), 1 if content is manifest else 11):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            pair = (bytes(changed), table) if content is manifest else (manifest, bytes(changed))
            with pytest.raises(Broken):
                manifest_verdict(*pair, signing_key)
    for more in (table + b"\r\n", table[:-1], b""):
        with pytest.raises(Broken):
            manifest_verdict(manifest, more, signing_key)


def test_a_signature_over_one_kind_of_evidence_is_none_over_another(
    signed: tuple[bytes, bytes], asked: Any, lines: Any, signing_key: SigningKey
) -> None:
    """The label in front of what is signed keeps them apart."""
    for forged in ("expunge-audit-slice/1", "expunge-certificate/1"):
        document = json.loads(signed[1])
        del document["signature"]
        document["signature"] = _base64(signing_key.sign(forged.encode() + b"\n" + encode_canonical(document)))
        with pytest.raises(Broken, match="signature"):
            manifest_verdict(encode_canonical(document) + b"\n", signed[0], signing_key)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
