"""`expunge audit`: take the evidence out, and verify it as anybody else would."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from service.cli import verify_audit
from service.cli.client import (
    DEFAULT_URL,
    EXIT_REFUSED,
    EXIT_UNUSABLE,
    Api,
    KeyFile,
    Unusable,
    Url,
    console,
    short_errors,
)
from service.cli.direct import DEFAULT_CONFIG, Config, opened
from service.domain.signed_note import SigningKey
from service.storage.audit_findings import AuditLogBroken
from service.storage.changes import log_event
from service.storage.rows import database_now
from service.storage.secrets import audit_signing_key
from service.storage.signing_key import PUBLIC_KEY_FILE, SigningKeyUnusable
from service.storage.stores import Stores
from service.use_cases.export_audit import ExportedLog, export_audit

app = typer.Typer(
    name="audit", help="The audit log and its evidence.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The file to write; audit.pub is written beside it.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the whole log with a signed checkpoint. Exit code 1 if the log doesn't agree with itself."""
    try:
        with opened(config) as (settings, stores):
            key = audit_signing_key(settings)
            _log_export(stores)
            exported = _write(stores, key, out)
            public = out.parent / PUBLIC_KEY_FILE
            public.write_text(f"{key.trusted}\n", encoding="ascii")
    except AuditLogBroken as broken:
        sys.stderr.write(f"THE AUDIT LOG IS BROKEN: {broken}\n")
        raise typer.Exit(EXIT_REFUSED) from None
    except (OSError, SigningKeyUnusable) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"can't export: {text}\n")
        raise typer.Exit(EXIT_UNUSABLE) from None
    console().print(f"{exported.entries} entries; verify with: expunge audit verify {out.name}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An export or a certificate.", show_default=False)],
    key: Annotated[Path | None, typer.Option(help="The log's public key; default: audit.pub beside the file.")] = None,
    certificate: Annotated[bool, typer.Option("--certificate", help="The file is a certificate.")] = False,
) -> None:
    """Verify an export or a certificate offline, by the same program that auditors get."""
    arguments = ["--certificate", str(file)] if certificate else [str(file)]
    raise typer.Exit(verify_audit.main(arguments if key is None else [*arguments, "--key", str(key)]))


@app.command()
def certificate(
    request_id: Annotated[UUID, typer.Argument(help="The request's id.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
) -> None:
    """Fetch the certificate of an answered request."""
    with short_errors():
        content = Api(url, key_file).fetch("GET", f"/v1/requests/{request_id}/certificate").content
        try:
            out.write_bytes(content)
        except OSError as error:
            raise Unusable(f"can't write {out.name}: {error.strerror}") from None
    console().print(f"{out.name}; verify with: expunge audit verify --certificate {out.name}")


def _log_export(stores: Stores) -> None:
    """Who takes the log out stands in the log that goes out."""
    with stores.engine.begin() as connection:
        now = database_now(connection)
        log_event(connection, row="export", key=str(uuid4()), event="export_made", actor="cli", at=now)


def _write(stores: Stores, key: SigningKey, out: Path) -> ExportedLog:
    """Under another name until it is whole; a broken log's file is kept as well, for whoever investigates."""
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
