"""`expunge audit anchor|reconcile|replay|prune|rotate-key`: maintain the audit log and check it.

Decides what an operator sees. Acts carry the operator's name into the log; exit code 1 means that something disagrees.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from service.audit.anchor_checkpoint import anchor_checkpoint
from service.audit.prune import prune_audit
from service.audit.rebuild import replay_audit
from service.audit.reconcile import Comparison, accept_restored_store, compare_with_anchors
from service.audit.rotate_signing_key import rotate_signing_key
from service.audit.sequence import checkpoint_everything
from service.cli.audit import verify_audit
from service.cli.client import EXIT_REFUSED, EXIT_UNUSABLE, Unusable
from service.cli.direct import DEFAULT_CONFIG, Config, opened
from service.cli.printing import AsJson, note, say, show_json
from service.domain.audit.anchor import Conflict
from service.settings import Settings
from service.store.anchors.configured import configured_anchors
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.signing_key import SigningKeyUnusable
from service.store.encryption.secrets import audit_key_directory, audit_signing_key
from service.store.interlock import OpenConflict
from service.store.key_services.configured import configured_key_service
from service.store.stores import Stores

_MOST_SHOWN = 50
Operator = Annotated[str, typer.Option(help="Your name, for the log: lower case, such as ada.byron.")]


def anchor(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Sign the log's head and publish it to every anchor.

    Exit code 1 if an anchor has a head that disagrees with the log, or if none could be compared.
    """
    with _stores(config) as (settings, stores):
        key = audit_signing_key(settings)
        checkpoint_everything(stores.engine, key)
        anchors = configured_anchors(settings)
        turn = anchor_checkpoint(stores.engine, key.current(), anchors)
    if as_json:
        compared = None if turn.comparison is None else _document(turn.comparison)
        show_json({"size": turn.size, "published": list(turn.published), "comparison": compared})
    else:
        say(f"head of {turn.size} entries; new at: {', '.join(turn.published) or 'none'}")
        _show(turn.comparison)
    if turn.comparison is not None and not _agrees(turn.comparison):
        raise typer.Exit(EXIT_REFUSED)


def reconcile(
    accept: Annotated[bool, typer.Option("--accept", help="Go on with the store as it is.")] = False,
    operator: Annotated[str | None, typer.Option(help="Your name, for the log; needed with --accept.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Compare the log with every anchor, and accept a restored one.

    After a restore no system is called until a named person accepts the store with --accept. Exit code 1 if an anchor
    disagrees, if none could be compared, or if a disagreement is still open.
    """
    if accept and operator is None:
        raise Unusable("--accept is a named person's act: give --operator")
    with _stores(config) as (settings, stores):
        key, anchors = audit_signing_key(settings), configured_anchors(settings)
        comparison = compare_with_anchors(stores.engine, key, anchors)
        if not as_json:
            _show(comparison)
        if not accept or operator is None:
            if as_json:
                show_json(_document(comparison))
            raise typer.Exit(0 if _agrees(comparison) else EXIT_REFUSED)
        left = accept_restored_store(stores.engine, key, anchors, operator=operator)
    if as_json:
        show_json(_document(comparison) | {"accepted": not left, "still_open": _conflicts(left)})
    for conflict in () if as_json else left:
        say(f"still open: {conflict.anchor}: {conflict.code} ({conflict.detail})")
    if left:
        raise typer.Exit(EXIT_REFUSED)
    if not as_json:
        say("accepted; systems are called again")


def replay(
    export: Annotated[Path | None, typer.Option(help="Replay this export, and the store's log after its end.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key that verifies it; default: audit.pub beside it.")] = None,
    handover: Annotated[list[Path] | None, typer.Option(help="A rotation's note, if the key is older; repeat.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Rebuild all states from the log and compare them.

    The states in the log must equal the states in the rows. Exit code 1 if there is a difference.
    """
    if export is not None:
        _verify_first(export, key, handover or [])
    with _stores(config) as (_, stores):
        if export is None:
            report = replay_audit(stores.engine)
        else:
            with export.open("rb") as file:
                report = replay_audit(stores.engine, file)
    if as_json:
        show_json(asdict(report))
    else:
        say(f"{report.entries} entries of {report.objects} objects, difference {len(report.differences)}")
        if report.beyond_retention:
            say(f"{report.beyond_retention} rows are older than the log's beginning")
        for each in report.differences[:_MOST_SHOWN]:
            say(f"{each.object} {each.object_id} {each.field}: log {each.logged}, store {each.stored}")
    if report.differences:
        raise typer.Exit(EXIT_REFUSED)


def _verify_first(export: Path, key: Path | None, handover: list[Path]) -> None:
    arguments = [str(export)] if key is None else [str(export), "--key", str(key)]
    for path in handover:
        arguments += ["--handover", str(path)]
    # The verifier's report is a message here; the result is the replay's.
    with redirect_stdout(sys.stderr):
        code = verify_audit.main(arguments)
    if code:
        raise typer.Exit(code)


def prune(operator: Operator, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Remove the oldest entries, whose retention is over.

    The rest of the log can still be verified.
    """
    with _stores(config) as (settings, stores):
        retention = timedelta(seconds=settings.audit.retention_seconds)
        done = prune_audit(stores.engine, audit_signing_key(settings), retention=retention, operator=operator)
    if as_json:
        show_json({"removed": done.removed, "begins_at": done.size})
    else:
        say(f"{done.removed} entries removed; the log begins at {done.size}")


def rotate_key(operator: Operator, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Give the log a new signing key.

    Send auditors the new audit.pub and the handover note.
    """
    with _stores(config) as (settings, stores):
        service = configured_key_service(settings)
        directory, origin = audit_key_directory(settings), settings.keys.audit_origin
        done = rotate_signing_key(stores.engine, directory, origin, operator=operator, service=service)
    if as_json:
        fingerprints = {"old_key": done.old.fingerprint, "new_key": done.new.fingerprint}
        show_json(fingerprints | {"size": done.size, "handover_note": done.kept_at.name})
        return
    say(f"old key {done.old.fingerprint} signed up to {done.size} entries")
    say(f"new key {done.new.fingerprint}")
    say(f"handover note: {done.kept_at.name} in the key directory")


def _agrees(comparison: Comparison) -> bool:
    """Return whether at least one anchor agrees and none disagrees."""
    return bool(comparison.agree) and not comparison.conflicts


def _show(comparison: Comparison | None) -> None:
    if comparison is None:
        return
    for name in comparison.agree:
        say(f"{name}: agrees")
    for name, code in comparison.unreachable:
        say(f"{name}: not reachable ({code})")
    for conflict in comparison.conflicts:
        say(f"{conflict.anchor}: DISAGREES, {conflict.code} ({conflict.detail})")


def _document(comparison: Comparison) -> dict[str, object]:
    return {
        "agree": list(comparison.agree),
        "unreachable": [{"anchor": name, "code": code} for name, code in comparison.unreachable],
        "conflicts": _conflicts(comparison.conflicts),
    }


def _conflicts(conflicts: Iterable[Conflict | OpenConflict]) -> list[dict[str, str]]:
    return [{"anchor": each.anchor, "code": each.code, "detail": each.detail} for each in conflicts]


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
