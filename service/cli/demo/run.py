"""`expunge demo`: sets the company up, runs the service, tells the story, takes everything down again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.access.create_key import create_key
from service.cli.demo.client import DemoClient
from service.cli.demo.output import (
    CERTIFICATES,
    KEY,
    LOG,
    RECORDS,
    REPORT,
    VERIFIER,
    OutputUnusable,
    RunFailed,
    replaced_when_whole,
    verify_command,
)
from service.cli.demo.story import DemoFailed, Story
from service.cli.demo.world import DemoWorld, build, write_config
from service.cli.running.api_process import api_listeners
from service.cli.running.installation import prepare, processes, servers
from service.cli.running.supervise import python
from service.domain.access.api_key import Scope
from service.settings import load_settings

# A log file or pipe has no width; 80 columns would cut the systems' names off.
console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=120)
_GRACE_SECONDS = 0.2


def demo(
    people: Annotated[int, typer.Option(help="people in the made-up company", min=100)] = 10_000,
    erase: Annotated[int, typer.Option(help="ordinary people to erase", min=1, max=50)] = 8,
    seed: Annotated[int, typer.Option(help="the same seed makes the same company")] = 1,
    output: Annotated[Path, typer.Option(help="where the evidence is left")] = Path("demo-output"),
) -> None:
    """Erase people of a made-up company from a warehouse and three stand-ins, and verify the evidence."""
    started = time.monotonic()
    # Asked to end, it takes everything down that it started, as after an interrupt.
    signal.signal(signal.SIGTERM, _end)
    # A shell lets its background jobs ignore Ctrl-C's signal; a signal to this process itself is meant.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with replaced_when_whole(output) as draft:
            _tell(people, erase, seed, draft)
    except (OutputUnusable, RunFailed) as error:
        console.print(f"the demo failed: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, SystemExit) as told:
        left = f"{output} is as it was before" if output.exists() else "nothing is left of it"
        console.print(f"the demo was interrupted; {left}", style="red", markup=False, soft_wrap=True)
        code = told.code if isinstance(told, SystemExit) else 128 + signal.SIGINT
        raise typer.Exit(code if isinstance(code, int) else 1) from None
    _say_what_is_left(output)
    console.print(f"done in {time.monotonic() - started:.0f} s")


def _say_what_is_left(output: Path) -> None:
    files = (
        (f"{CERTIFICATES}/", "one certificate per person: signed (JSON) and on paper (PDF)"),
        (REPORT, "the report of all requests, for a browser; signed by its manifest"),
        (RECORDS, "the table of records before and after"),
        (LOG, f"the whole audit log, with its public key ({KEY})"),
        (VERIFIER, "the program that auditors get: one file, offline, nothing of Expunge"),
    )
    console.print(f"\nthe evidence is in {output}/", markup=False, soft_wrap=True)
    for name, what in files:
        console.print(f"  {name:<17} {what}", markup=False, soft_wrap=True)
    console.print("\nverify it yourself:")
    console.print(f"  {verify_command(output)}", markup=False, soft_wrap=True)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _tell(people: int, erase: int, seed: int, output: Path) -> None:
    with _private_directory() as directory:
        company = directory / "company"
        company.mkdir(mode=0o700)
        console.print(f"making a company of {people:,} people, its warehouse and four vendors' stand-ins")
        world = build(people, seed, company)
        with _sandboxes(world) as sandbox_port:
            write_config(world, sandbox_port, data_directory=directory / "data", api_port=0)
            settings = load_settings(world.config)
            console.print("starting a PostgreSQL and a Valkey server of its own")
            with api_listeners(settings) as listeners, servers(settings) as found:
                stores = prepare(settings, found)
                reviewer = create_key(stores, name="demo", scopes=list(Scope), life=timedelta(days=1), actor="cli")
                stores.close()
                console.print("starting the API, the workers and the scheduler")
                with processes(settings, found, listeners) as supervisor:
                    client = DemoClient(listeners.address, reviewer.token)
                    client.wait_until_ready(60.0)
                    console.print("the service is up")
                    story = Story(world, client, sandbox_port, output, console, erase)
                    story.look_before()
                    story.submit()
                    story.watch()
                    story.look_after()
                    story.export(world.config)
                    client.close()
                    # Everybody's work has ended and is verified: there is nothing to wait for.
                    supervisor.hurry(_GRACE_SECONDS)


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """Return a fresh directory for all files but the evidence.

    Other accounts may pass through it, because the servers run under an account of their own.
    """
    directory = Path(tempfile.mkdtemp(prefix="expunge-demo-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def _sandboxes(world: DemoWorld) -> Iterator[int]:
    """The vendors' stand-ins in a process of their own; yields its port."""
    process = subprocess.Popen(
        python("-m", "connectors.testing.sandbox", "--spec", str(world.spec)),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoFailed("the stand-ins did not start")
        yield int(json.loads(line)["port"])
    finally:
        process.terminate()
        process.wait(timeout=20)
