"""Write files of evidence, complete or not at all: an excerpt or table of the log, a report, a PDF.

Decides how periods are given on the command line, and that the log records each export before the export is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

from service.audit.exports.report import report_from_log
from service.audit.exports.slice import Excerpt, excerpt_lines, select_entries
from service.audit.exports.table import FileDigest, csv_lines, sign_manifest, write_parquet
from service.cli.audit.whole_file import whole
from service.cli.client import Unusable
from service.domain.audit.selection import Selection
from service.domain.audit.signed_note import SigningKey
from service.domain.instants import OutsideTheCalendar, in_utc
from service.domain.reports.report import Period
from service.settings import Settings
from service.store.audit_log.pruned import pruned_prefix
from service.store.audit_log.record_change import log_event
from service.store.locking import database_now
from service.store.stores import Stores

EXPORT_FORMATS = ("jsonl", "csv", "parquet")
_PIECE_BYTES = 1024 * 1024


def parse_instant(text: str | None, zone: ZoneInfo) -> datetime | None:
    """A day, which begins at midnight in `zone`, or an RFC 3339 instant with its offset. Raises Unusable."""
    if text is None:
        return None
    try:
        if len(text) == 10:
            return in_utc(datetime.combine(date.fromisoformat(text), time.min, tzinfo=zone))
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise Unusable("an instant needs an offset: 2026-01-31T12:00:00Z")
        return in_utc(at)
    except OutsideTheCalendar as outside:
        raise Unusable(str(outside)) from None
    except ValueError:
        raise Unusable("a period is given in days (2026-01-31) or RFC 3339 instants") from None


def is_complete(stores: Stores) -> bool:
    """Whether no entry of the log was removed yet."""
    with stores.engine.begin() as connection:
        return pruned_prefix(connection) == 0


def log_taking(stores: Stores, event: str, what: str | None = None) -> None:
    """Log that evidence is taken out, before it is."""
    with stores.engine.begin() as connection:
        now = database_now(connection)
        data = {} if what is None else {"what": what}
        log_event(connection, row="export", key=str(uuid4()), event=event, actor="cli", at=now, data=data)


def write_export(stores: Stores, key: SigningKey, selection: Selection, form: str, out: Path) -> tuple[Excerpt, int]:
    """Write an excerpt, and the manifest of a table; return it and its number of entries.

    Raises AuditLogBroken.
    """
    log_taking(stores, "export_made")
    excerpt = select_entries(stores.engine, key, selection)
    if form == "jsonl":
        with whole(out) as draft:
            lines = _write(draft, excerpt_lines(stores.engine, key, excerpt), b'{"entry":')
        return excerpt, lines
    with whole(out) as draft:
        if form == "parquet":
            rows = write_parquet(stores.engine, excerpt, draft)
        else:
            rows = _write(draft, csv_lines(stores.engine, excerpt), b"") - 1
        manifest = sign_manifest(key, excerpt, form, FileDigest.of(_pieces(draft)), rows=rows)
    with whole(manifest_of(out)) as draft:
        draft.write_bytes(manifest)
    return excerpt, rows


@dataclass(frozen=True)
class Asked:
    """A report's name, period, law and form."""

    name: str
    period: Period
    regime: str | None
    form: str

    def __str__(self) -> str:
        about = f"{self.period.first_day}..{self.period.last_day} {self.period.zone.key}"
        return f"report {self.name} as {self.form} on {about}, law {self.regime or 'all'}:"


def write_report(stores: Stores, settings: Settings, key: SigningKey, asked: Asked, out: Path) -> int:
    """Writes a report and its manifest; answers the number of rows. Raises AuditLogBroken."""
    log_taking(stores, "evidence_read", f"report.{asked.name}")
    report = report_from_log(
        stores.engine,
        key,
        asked.name,
        period=asked.period,
        regime=asked.regime,
        form=asked.form,
        controller=settings.service.controller,
    )
    with whole(out) as draft:
        draft.write_bytes(report.content)
    with whole(manifest_of(out)) as draft:
        digest = FileDigest.of([report.content])
        draft.write_bytes(sign_manifest(key, report.log, str(asked), digest, rows=report.rows))
    return report.rows


def form_of(given: str | None, out: Path, known: Sequence[str], default: str) -> str:
    """Return the format of the file to write: the given one, else by its ending, else the default.

    Raises Unusable for an unknown format, and for a file whose ending says that it holds another one.
    """
    ending = out.suffix.removeprefix(".").lower()
    if given is None:
        return ending if ending in known else default
    one_of(given, known, "--format")
    if ending in known and ending != given:
        raise Unusable(f"--format {given} doesn't go with {out.name}: name the file .{given}, or leave --format out")
    return given


def one_of(word: str, known: Sequence[str], what: str) -> None:
    """Raises Unusable for a word that isn't known."""
    if word not in known:
        raise Unusable(f"{what} is one of: {', '.join(known)}")


def manifest_of(out: Path) -> Path:
    """Where the manifest of a file is."""
    return out.with_name(f"{out.name}.manifest")


def _write(draft: Path, pieces: Iterable[bytes], counted: bytes) -> int:
    """Writes pieces of whole lines; answers how many lines begin with `counted`."""
    count = 0
    with draft.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            count += sum(line.startswith(counted) for line in piece.splitlines())
    return count


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
