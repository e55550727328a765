"""`expunge up`: run the whole service on this machine until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from connectors.base.config import ConfigurationError
from service.cli.installation import prepare, processes, servers, unreconciled
from service.embedded import EmbeddedServersError
from service.settings import Settings, load_settings
from service.storage.signing_key import SigningKeyUnusable

console = Console(stderr=True)


def up(
    config: Annotated[Path, typer.Option(help="the configuration file")] = Path("expunge.toml"),
) -> None:
    """Start the API, the workers and the scheduler; with no URLs configured, on servers of their own."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        settings = load_settings(config)
        while not over.is_set():
            _run(settings, over)
    except (ConfigurationError, EmbeddedServersError, SigningKeyUnusable) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from None


def _run(settings: Settings, over: threading.Event) -> None:
    """Until we are told to stop, or a server of our own ended: then everything is started anew."""
    with servers(settings) as found:
        for note in found.notes:
            console.print(note)
        with contextlib.closing(prepare(settings, found)) as stores:
            for reason in unreconciled(settings, stores):
                console.print(f"[red]NO SYSTEM IS CALLED, the audit log isn't reconciled: {reason}[/red]")
                console.print("[red]see `expunge audit reconcile --help`[/red]")
        with processes(settings, found):
            address = f"http://{settings.service.listen_host}:{settings.service.listen_port}"
            console.print(f"Expunge is up: {address}, {len(settings.systems)} systems. Stop it with Ctrl-C.")
            while not over.wait(1.0):
                if found.ended():
                    console.print(f"[red]{', '.join(found.ended())} ended by itself; starting again[/red]")
                    return
            console.print("stopping")
