"""`expunge audit export|report`: write evidence out of the stores, with the key that verifies it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.audit.exports.full import ExportedLog, export_audit
from service.audit.exports.report import REPORTS
from service.cli.audit.exports import (
    EXPORT_FORMATS,
    Asked,
    form_of,
    is_complete,
    log_taking,
    manifest_of,
    one_of,
    parse_instant,
    write_export,
    write_report,
)
from service.cli.client import EXIT_REFUSED, EXIT_UNUSABLE, Unusable, short_errors
from service.cli.direct import DEFAULT_CONFIG, Config, opened
from service.cli.printing import AsJson, note, say, show_json
from service.domain.audit.selection import Selection
from service.domain.audit.signed_note import SigningKey
from service.domain.reports.rendering import FORMATS
from service.domain.reports.report import NoPeriod, parse_period
from service.settings import Settings
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.signing_key import PUBLIC_KEY_FILE, SigningKeyUnusable, handover_notes
from service.store.encryption.secrets import audit_key_directory, audit_signing_key
from service.store.stores import Stores

_BY_ENDING = "if left out, by the file's ending"


def export(
    out: Annotated[Path, typer.Option(help="The file to write; audit.pub is written beside it.")],
    form: Annotated[
        str | None, typer.Option("--format", help=f"One of: {', '.join(EXPORT_FORMATS)}; {_BY_ENDING}.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Only entries from this day or RFC 3339 instant on.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Only entries before this day or instant.")] = None,
    system: Annotated[str | None, typer.Option(help="Only entries of this system and of its steps.")] = None,
    regime: Annotated[str | None, typer.Option(help="Only requests under this law.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write the log, or an excerpt of it, signed.

    Exit code 1 if the log doesn't agree with itself.
    """
    with _evidence(config, out) as (settings, stores, key):
        zone = settings.service.zone
        selection = Selection(parse_instant(from_, zone), parse_instant(to, zone), system, regime)
        form = form_of(form, out, EXPORT_FORMATS, "jsonl")
        if form == "jsonl" and selection.is_everything and is_complete(stores):
            # The whole log is compared with every column that is stored, not only with its signature.
            log_taking(stores, "export_made")
            count = _write(stores, key, out).entries
        else:
            count = write_export(stores, key, selection, form, out)[1]
    manifest = "" if form == "jsonl" else f"--manifest {manifest_of(out).name} "
    if as_json:
        show_json({"entries": count, "file": out.name, "manifest": manifest_of(out).name if manifest else None})
        return
    say(f"{count} entries; verify with: expunge audit verify {manifest}{out.name}")


def report(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(REPORTS)}.", show_default=False)],
    period: Annotated[str, typer.Option(help="YYYY, YYYY-Qn, YYYY-MM or YYYY-MM-DD..YYYY-MM-DD: days of receipt.")],
    out: Annotated[Path, typer.Option(help="The file to write; its manifest and audit.pub are written beside it.")],
    form: Annotated[str | None, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}; {_BY_ENDING}.")] = None,
    regime: Annotated[str | None, typer.Option(help="Only requests under this law.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Compute a report from the log alone.

    Exit code 1 if the log doesn't agree with itself.
    """
    with _evidence(config, out) as (settings, stores, key):
        one_of(name, tuple(REPORTS), "the report")
        form = form_of(form, out, FORMATS, "html")
        try:
            asked = parse_period(period, settings.service.zone)
        except NoPeriod as error:
            raise Unusable(str(error)) from None
        rows = write_report(stores, settings, key, Asked(name, asked, regime, form), out)
    if as_json:
        show_json({"rows": rows, "file": out.name, "manifest": manifest_of(out).name})
        return
    say(f"{rows} rows; verify with: expunge audit verify --manifest {manifest_of(out).name} {out.name}")


@contextmanager
def _evidence(config: Path, out: Path) -> Iterator[tuple[Settings, Stores, SigningKey]]:
    """Open the stores and the signing key; write the public key and its handover notes beside the files."""
    try:
        with short_errors(), opened(config) as (settings, stores):
            key = audit_signing_key(settings)
            yield settings, stores, key
            public = out.parent / PUBLIC_KEY_FILE
            public.write_text(f"{key.trusted}\n", encoding="ascii")
            for each in handover_notes(audit_key_directory(settings)):
                (out.parent / each.name).write_bytes(each.read_bytes())
    except AuditLogBroken as broken:
        note(f"THE AUDIT LOG IS BROKEN: {broken}")
        raise typer.Exit(EXIT_REFUSED) from None
    except (OSError, SigningKeyUnusable) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        note(f"can't export: {text}")
        raise typer.Exit(EXIT_UNUSABLE) from None


def _write(stores: Stores, key: SigningKey, out: Path) -> ExportedLog:
    """Write under another name until the file is complete.

    The file of a broken log is kept as well, for the investigation.
    """
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            exported = export_audit(stores.engine, key, file)
            file.flush()
            os.fsync(file.fileno())
    except AuditLogBroken:
        if draft.stat().st_size:
            draft.replace(out.with_name(f"{out.name}.broken"))
        raise
    else:
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return exported
