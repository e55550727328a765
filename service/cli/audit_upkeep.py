"""`expunge audit anchor|reconcile|replay|prune|rotate-key`: keep the audit log, and check it against the outside.

Decides what an operator sees. Acts carry the operator's name into the log; exit code 1 means that something disagrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from service.cli import verify_audit
from service.cli.client import EXIT_REFUSED, EXIT_UNUSABLE
from service.cli.direct import DEFAULT_CONFIG, Config, opened
from service.cli.printing import note, say
from service.settings import Settings
from service.storage.anchors.configured import configured_anchors
from service.storage.audit_findings import AuditLogBroken
from service.storage.key_services.configured import configured_key_service
from service.storage.secrets import audit_key_directory, audit_signing_key
from service.storage.signing_key import SigningKeyUnusable
from service.storage.stores import Stores
from service.use_cases.anchor_checkpoint import anchor_checkpoint
from service.use_cases.prune_audit import prune_audit
from service.use_cases.reconcile_audit import Comparison, accept_restored_store, compare_with_anchors
from service.use_cases.replay_audit import replay_audit
from service.use_cases.rotate_signing_key import rotate_signing_key
from service.use_cases.sequence_audit import checkpoint_everything

_MOST_SHOWN = 50
Operator = Annotated[str, typer.Option(help="Who does this, for the log: lower case, such as ada.byron.")]


def add_to(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command()(anchor)
    app.command()(reconcile)
    app.command()(replay)
    app.command()(prune)
    app.command("rotate-key")(rotate_key)


def anchor(config: Config = DEFAULT_CONFIG) -> None:
    """Sign what is logged by now and publish the head to every anchor."""
    with _stores(config) as (settings, stores):
        key = audit_signing_key(settings)
        checkpoint_everything(stores.engine, key)
        anchors = configured_anchors(settings)
        turn = anchor_checkpoint(stores.engine, key.current(), anchors)
    say(f"head of {turn.size} entries; new at: {', '.join(turn.published) or 'none'}")
    if turn.comparison is not None and not _show(turn.comparison):
        raise typer.Exit(EXIT_REFUSED)


def reconcile(
    accept: Annotated[bool, typer.Option("--accept", help="Go on with the store as it is.")] = False,
    operator: Annotated[str | None, typer.Option(help="Who accepts, for the log; needed with --accept.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Compare the store with every anchor; after a restore, accept it, so that systems are called again."""
    if accept and operator is None:
        note("--accept is a named person's act: give --operator")
        raise typer.Exit(EXIT_UNUSABLE)
    with _stores(config) as (settings, stores):
        key, anchors = audit_signing_key(settings), configured_anchors(settings)
        agrees = _show(compare_with_anchors(stores.engine, key, anchors))
        if not accept or operator is None:
            raise typer.Exit(0 if agrees else EXIT_REFUSED)
        left = accept_restored_store(stores.engine, key, anchors, operator=operator)
    for conflict in left:
        say(f"still open: {conflict.anchor}: {conflict.code} ({conflict.detail})")
    if left:
        raise typer.Exit(EXIT_REFUSED)
    say("accepted; systems are called again")


def replay(
    export: Annotated[Path | None, typer.Option(help="Replay this export, and the store's log after its end.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key that verifies it; default: audit.pub beside it.")] = None,
    handover: Annotated[list[Path] | None, typer.Option(help="A rotation's note, if the key is older; repeat.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Rebuild the states from the log and compare them with the rows: the difference must be 0."""
    if export is not None:
        arguments = [str(export)] if key is None else [str(export), "--key", str(key)]
        for path in handover or ():
            arguments += ["--handover", str(path)]
        if code := verify_audit.main(arguments):
            raise typer.Exit(code)
    with _stores(config) as (_, stores):
        if export is None:
            report = replay_audit(stores.engine)
        else:
            with export.open("rb") as file:
                report = replay_audit(stores.engine, file)
    say(f"{report.entries} entries of {report.objects} objects, difference {len(report.differences)}")
    if report.beyond_retention:
        say(f"{report.beyond_retention} rows are older than the log's beginning")
    for each in report.differences[:_MOST_SHOWN]:
        say(f"{each.object} {each.object_id} {each.field}: log {each.logged}, store {each.stored}")
    if report.differences:
        raise typer.Exit(EXIT_REFUSED)


def prune(operator: Operator, config: Config = DEFAULT_CONFIG) -> None:
    """Remove the oldest entries whose retention is over. What remains can still be verified."""
    with _stores(config) as (settings, stores):
        retention = timedelta(seconds=settings.audit.retention_seconds)
        done = prune_audit(stores.engine, audit_signing_key(settings), retention=retention, operator=operator)
    say(f"{done.removed} entries removed; the log begins at {done.size}")


def rotate_key(operator: Operator, config: Config = DEFAULT_CONFIG) -> None:
    """Give the log a new signing key. Send auditors the new audit.pub and the handover note."""
    with _stores(config) as (settings, stores):
        service = configured_key_service(settings)
        directory, origin = audit_key_directory(settings), settings.keys.audit_origin
        done = rotate_signing_key(stores.engine, directory, origin, operator=operator, service=service)
    say(f"old key {done.old.fingerprint} signed up to {done.size} entries")
    say(f"new key {done.new.fingerprint}")
    say(f"handover note: {done.kept_at.name} in the key directory")


def _show(comparison: Comparison) -> bool:
    """Print what anchors say; True if one at least agrees and none disagrees."""
    for name in comparison.agree:
        say(f"{name}: agrees")
    for name, code in comparison.unreachable:
        say(f"{name}: not reachable ({code})")
    for conflict in comparison.conflicts:
        say(f"{conflict.anchor}: DISAGREES, {conflict.code} ({conflict.detail})")
    return bool(comparison.agree) and not comparison.conflicts


@contextmanager
def _stores(config: Path) -> Iterator[tuple[Settings, Stores]]:
    try:
        with opened(config) as found:
            yield found
    except AuditLogBroken as broken:
        note(f"THE AUDIT LOG IS BROKEN: {broken}")
        raise typer.Exit(EXIT_REFUSED) from None
    except (OSError, SigningKeyUnusable) as error:
        shown = error.strerror if isinstance(error, OSError) else str(error)
        note(f"can't do that: {shown}")
        raise typer.Exit(EXIT_UNUSABLE) from None
