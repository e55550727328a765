"""Write the log, or an excerpt, as a table for spreadsheets and databases, with a signed manifest.

Decides the columns and the manifest's members. A table can't carry proofs, so the manifest, one line of canonical JSON
beside it, binds the file's bytes to the signed log (cli/verify_audit.py reads it with its own code):

    {"checkpoint":<note>,"end":<n>,"file":{"bytes":<n>,"sha256":<hex>},"filter":{...},"first":<n>,
     "format":"expunge-export-manifest/1","kind":"csv"|"parquet"|<words>,"rows":<n>,"signature":<base64>}

The signature is over the format, a newline and the canonical JSON of everything but the signature. CSV has the same
bytes for the same question; so has Parquet, for the same version of the library that writes it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
from duckdb import ColumnExpression
from duckdb.sqltypes import TIMESTAMP
from sqlalchemy import Engine

from service.audit.exports.slice import Excerpt, chosen_entries
from service.domain.audit.canonical_json import JsonValue, encode_canonical
from service.domain.audit.entry import EntryMembers
from service.domain.audit.merkle import leaf_hash
from service.domain.audit.signed_note import SigningKey
from service.domain.reports.csv_text import Cell, csv_line
from service.store.audit_log.pages import LoggedEntry

MANIFEST_FORMAT = "expunge-export-manifest/1"
COLUMNS = (
    "index",
    "at",
    "actor",
    "event",
    "object",
    "object_id",
    "version",
    "subject",
    "data",
    "previous",
    "leaf_hash",
)
_PARQUET_TYPES = {"index": "BIGINT", "version": "BIGINT"}
_MEMORY = "256MB"
_LINES_AT_ONCE = 500
_ROWS_PER_GROUP = 20_480


def csv_lines(engine: Engine, excerpt: Excerpt, *, start: int = 0) -> Iterator[bytes]:
    """Return the table as CSV in pieces of whole lines, `at` as text and `data` as JSON.

    It begins with the header, or with the row of the entry at `start`. Raises AuditLogBroken before the last piece.
    """
    lines = [csv_line(COLUMNS)] if start == 0 else []
    for entry, members in chosen_entries(engine, excerpt):
        if entry.index >= start:
            lines.append(csv_line(_cells(entry, members).values()))
        if len(lines) >= _LINES_AT_ONCE:
            yield b"".join(lines)
            lines.clear()
    if lines:
        yield b"".join(lines)


def write_parquet(engine: Engine, excerpt: Excerpt, out: Path) -> int:
    """The table as Parquet, `at` as a timestamp in UTC; answers the number of rows. Raises AuditLogBroken.

    The rows pass through a file beside `out`: memory doesn't grow with them. `out` is there whole or not at all.
    """
    count = 0
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".expunge-") as scratch:
        rows, draft = Path(scratch, "rows.jsonl"), Path(scratch, "rows.parquet")
        with rows.open("w", encoding="utf-8") as file:
            for entry, members in chosen_entries(engine, excerpt):
                file.write(json.dumps(_cells(entry, members)) + "\n")
                count += 1
        # One thread: several would write their groups of rows in the order in which they finish.
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": 1,
            "memory_limit": _MEMORY,
            "temp_directory": scratch,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            table = connection.read_json(
                str(rows),
                format="newline_delimited",
                columns={name: _PARQUET_TYPES.get(name, "VARCHAR") for name in COLUMNS},
            )
            columns = [ColumnExpression(name) for name in COLUMNS]
            columns[COLUMNS.index("at")] = ColumnExpression("at").cast(TIMESTAMP).alias("at")
            table.select(*columns).write_parquet(str(draft), compression="zstd", row_group_size=_ROWS_PER_GROUP)
        draft.replace(out)
    return count


@dataclass(frozen=True)
class FileDigest:
    """A file's digest and length, as its manifest states them, and the number of its lines."""

    sha256: str
    length_bytes: int
    lines: int

    @classmethod
    def of(cls, pieces: Iterable[bytes]) -> FileDigest:
        digest, length, lines = hashlib.sha256(), 0, 0
        for piece in pieces:
            digest.update(piece)
            length += len(piece)
            lines += piece.count(b"\n")
        return cls(digest.hexdigest(), length, lines)


def sign_manifest(signing_key: SigningKey, excerpt: Excerpt, kind: str, file: FileDigest, *, rows: int) -> bytes:
    """The manifest of a file with `rows` entries."""
    document: dict[str, JsonValue] = {
        "checkpoint": excerpt.note,
        "end": excerpt.end,
        "file": {"bytes": file.length_bytes, "sha256": file.sha256},
        "filter": excerpt.selection.as_json(),
        "first": excerpt.first,
        "format": MANIFEST_FORMAT,
        "kind": kind,
        "rows": rows,
    }
    signature = signing_key.sign(MANIFEST_FORMAT.encode() + b"\n" + encode_canonical(document))
    document["signature"] = base64.b64encode(signature).decode()
    return encode_canonical(document) + b"\n"


def _cells(entry: LoggedEntry, members: EntryMembers) -> dict[str, Cell]:
    """Return the cells of an entry's row, in the order of `COLUMNS`."""
    return {
        "index": entry.index,
        "at": members["at"],
        "actor": members["actor"],
        "event": members["event"],
        "object": members["object"],
        "object_id": members["object_id"],
        "version": members["version"],
        "subject": members["subject"],
        "data": encode_canonical(members["data"]).decode(),
        "previous": members["previous"],
        "leaf_hash": leaf_hash(entry.raw).hex(),
    }
