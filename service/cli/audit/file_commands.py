"""`expunge audit verify|certificate|print`: evidence as files, without this installation's stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from service.audit.exports.certificate_pdf import NotACertificate, print_certificate
from service.cli.audit import verify_audit
from service.cli.audit.whole_file import whole
from service.cli.client import DEFAULT_URL, Api, KeyFile, Unusable, Url, short_errors
from service.cli.printing import say
from service.domain.audit.proof_bundle import ATTACHMENT


def verify(
    file: Annotated[Path, typer.Argument(help="An export, an excerpt, a table or a certificate.", show_default=False)],
    key: Annotated[Path | None, typer.Option(help="The log's public key; default: audit.pub beside the file.")] = None,
    certificate: Annotated[bool, typer.Option("--certificate", help="The file is a certificate.")] = False,
    manifest: Annotated[Path | None, typer.Option(help="The manifest that signs the file.")] = None,
    handover: Annotated[list[Path] | None, typer.Option(help="A rotation's note, if the key is older; repeat.")] = None,
) -> None:
    """Verify evidence offline.

    By the same program that auditors get.
    """
    arguments = ["--certificate", str(file)] if certificate else [str(file)]
    for option, path in (("--manifest", manifest), ("--key", key), *(("--handover", each) for each in handover or ())):
        arguments += [] if path is None else [option, str(path)]
    raise typer.Exit(verify_audit.main(arguments))


def certificate(
    request_id: Annotated[UUID, typer.Argument(help="The request's id.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The file to write: a PDF if it ends in .pdf, else JSON.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
) -> None:
    """Fetch the certificate of an answered request.

    A PDF carries the signed JSON, which alone proves anything.
    """
    ending = ".pdf" if out.suffix.lower() == ".pdf" else ""
    with short_errors():
        content = Api(url, key_file).fetch("GET", f"/v1/requests/{request_id}/certificate{ending}").content
        try:
            with whole(out) as draft:
                draft.write_bytes(content)
        except OSError as error:
            raise Unusable(f"can't write {out.name}: {error.strerror}") from None
    if ending:
        say(f"{out.name}; save {ATTACHMENT} out of it, then: expunge audit verify --certificate {ATTACHMENT}")
    else:
        say(f"{out.name}; verify with: expunge audit verify --certificate {out.name}")


def print_(
    certificate: Annotated[Path, typer.Argument(help="A certificate (JSON).", show_default=False)],
    out: Annotated[Path, typer.Option(help="The PDF to write.")],
) -> None:
    """Print a certificate as a PDF that carries it. Verify the certificate first: paper proves nothing."""
    with short_errors():
        try:
            with whole(out) as draft:
                draft.write_bytes(print_certificate(certificate.read_bytes()))
        except (NotACertificate, OSError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise Unusable(f"can't print {certificate.name}: {text}") from None
