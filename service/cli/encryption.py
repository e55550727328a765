"""`expunge encryption`: the epoch keys and the key-encryption key, with access to the stores.

Decides what an operator sees. Exit code 1 of `status` means that something needs a human. No command shows a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from connectors.base.config import ConfigurationError
from service.cli.client import EXIT_REFUSED
from service.cli.direct import DEFAULT_CONFIG, Config, opened
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, note, say, show_json, show_table
from service.encryption.rotate_epochs import adopt_epochs, find_epoch, give_up_epoch, rotate_epochs
from service.encryption.rotate_kek import rotate_kek
from service.encryption.status import EncryptionStatus, read_encryption_status
from service.settings import Settings, load_settings
from service.store.encryption import generated_pepper
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.secrets import keys_directory
from service.store.stores import Stores

app = command_group("encryption", "Show and rotate the keys that wrap the data keys.")
Operator = Annotated[str, typer.Option(help="Your name, for the log: lower case, such as ada.byron.")]


@app.command()
def status(config: Config = DEFAULT_CONFIG, as_json: AsJson = False, wide: Wide = False) -> None:
    """Show every epoch.

    How many data keys it wraps, and whether its key is there. Exit code 1 if something needs a human.
    """
    with _stores(config) as (settings, stores):
        found = read_encryption_status(stores, settings)
    if as_json:
        show_json(found.plain())
    else:
        _show(found)
    if not found.is_in_order:
        raise typer.Exit(EXIT_REFUSED)


@app.command("rotate-epoch")
def rotate_epoch(operator: Operator, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Begin a new epoch now.

    The data keys are re-wrapped under it. The old key is destroyed when its time is over.
    """
    with _stores(config) as (settings, stores):
        work = rotate_epochs(stores, settings, now=True, actor=f"operator:{operator}")
    if work.busy:
        note("another process is rotating now; nothing was done, try again")
        raise typer.Exit(EXIT_REFUSED)
    if as_json:
        show_json({"begun": work.begun, "unfinished": work.unfinished, "destroyed": work.destroyed})
        return
    say("a new epoch has begun" if work.begun else "no new epoch was needed")
    if work.unfinished:
        say("data keys are still being re-wrapped; the scheduler goes on with it")
    say(f"{work.destroyed} epoch keys destroyed")


@app.command("give-up-epoch")
def give_up(
    epoch: Annotated[str, typer.Argument(help="The epoch's id, as `status` shows it.", show_default=False)],
    operator: Operator,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Accept that an epoch's key is lost for ever.

    The service starts again then; requests under that key stay unreadable.
    """
    with _stores(config) as (_, stores):
        lost = give_up_epoch(stores, find_epoch(stores, epoch), operator=operator)
    if as_json:
        show_json({"given_up": epoch, "lost_data_keys": lost})
        return
    say(f"given up; {lost} data keys can never be unwrapped, see `expunge encryption status`")


@app.command("adopt-epochs")
def adopt(operator: Operator, config: Config = DEFAULT_CONFIG) -> None:
    """Let unknown epoch keys be destroyed.

    Epoch keys that this key store doesn't know are kept until then, because another installation may use them.
    """
    with _stores(config) as (_, stores):
        adopted = adopt_epochs(stores, operator=operator)
    say(f"{adopted} epoch keys adopted; they are destroyed after keys.epoch_backup_seconds")


@app.command("rotate-kek")
def rotate_key_encryption_key(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Wrap every epoch key under the newest key-encryption key.

    A generated key-encryption key is replaced by a new one first.
    """
    with _stores(config) as (settings, stores):
        done = rotate_kek(stores, settings)
    if as_json:
        show_json({"rewrapped": done.rewrapped, "old_key_destroyed": done.old_key_destroyed})
        return
    say(f"{done.rewrapped} epoch keys are wrapped under the newest key-encryption key now")
    if done.old_key_destroyed:
        say("the old key-encryption key was overwritten")
    else:
        say("keys.previous_key_encryption_keys isn't needed any more")


@app.command("rotate-pepper")
def rotate_pepper(config: Config = DEFAULT_CONFIG) -> None:
    """Prepare another pepper. The next start takes it, and brings every keyed hash to the new version."""
    settings = load_settings(config)
    if settings.keys.pepper is not None:
        note("keys.pepper is configured: add a line to keys.added_peppers (64 hex digits) yourself, then restart")
        raise typer.Exit(EXIT_REFUSED)
    made = generated_pepper.prepare_next(keys_directory(settings))
    say("another pepper is prepared" if made else "another pepper was prepared before and isn't taken yet")
    say("stop every process, on other machines as well, then start the service: the tables are locked meanwhile")


def _show(found: EncryptionStatus) -> None:
    rows: list[tuple[object, ...]] = [
        (e.id, e.state, e.created_at.isoformat(timespec="seconds"), e.data_keys, e.key) for e in found.epochs
    ]
    show_table("encryption epochs", ("epoch", "state", "begun", "data keys", "epoch key"), rows)
    if found.without_epoch:
        note(f"{found.without_epoch} data keys wait to be wrapped under an epoch for the first time")
    for owner in found.lost:
        note(f"can't be unwrapped: {owner}")
    for text in found.troubles:
        note(text)


@contextmanager
def _stores(config: Path) -> Iterator[tuple[Settings, Stores]]:
    with opened(config) as found:
        try:
            yield found
        except EpochKeyUnusable as error:
            raise ConfigurationError(str(error)) from None
