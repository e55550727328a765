"""`expunge up`: run the whole service on this machine until it is told to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from connectors.base.config import ConfigurationError
from service.cli.installation import prepare, processes, servers
from service.embedded import EmbeddedServersError
from service.settings import load_settings

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
        with servers(settings) as found:
            for note in found.notes:
                console.print(note)
            prepare(settings, found).close()
            with processes(settings, found):
                address = f"http://{settings.service.listen_host}:{settings.service.listen_port}"
                console.print(f"Expunge is up: {address}, {len(settings.systems)} systems. Stop it with Ctrl-C.")
                over.wait()
                console.print("stopping")
    except (ConfigurationError, EmbeddedServersError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(2) from None
