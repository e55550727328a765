"""`expunge demo`: sets the company up, runs the service, tells the story, takes everything down again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cli.api_process import api_listeners
from service.cli.demo.client import DemoClient
from service.cli.demo.story import DemoFailed, Story
from service.cli.demo.world import DemoWorld, build, write_config
from service.cli.installation import prepare, processes, servers
from service.cli.supervise import python
from service.domain.api_key import Scope
from service.settings import load_settings
from service.use_cases.create_key import create_key

console = Console()
_GRACE_SECONDS = 0.2


def demo(
    people: Annotated[int, typer.Option(help="people in the made-up company", min=100)] = 10_000,
    erase: Annotated[int, typer.Option(help="ordinary people to erase", min=1, max=50)] = 8,
    seed: Annotated[int, typer.Option(help="the same seed makes the same company")] = 1,
    output: Annotated[Path, typer.Option(help="where the evidence is left")] = Path("demo-output"),
) -> None:
    """Erase people of a made-up company from a warehouse and three vendors' stand-ins, and verify the evidence."""
    started = time.monotonic()
    # Asked to end, it takes everything down that it started, as after an interrupt.
    signal.signal(signal.SIGTERM, _end)
    try:
        _tell(people, erase, seed, output)
    except DemoFailed as error:
        console.print(f"the demo failed: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    console.print(f"done in {time.monotonic() - started:.0f} s; the evidence is in {output}/")


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _tell(people: int, erase: int, seed: int, output: Path) -> None:
    _empty(output)
    with _private_directory() as directory:
        company = directory / "company"
        company.mkdir(mode=0o700)
        console.print(f"making a company of {people:,} people")
        world = build(people, seed, company)
        with _sandboxes(world) as sandbox_port:
            write_config(world, sandbox_port, data_directory=directory / "data", api_port=0)
            settings = load_settings(world.config)
            with api_listeners(settings) as listeners, servers(settings) as found:
                stores = prepare(settings, found)
                reviewer = create_key(stores, name="demo", scopes=list(Scope), life=timedelta(days=1), actor="cli")
                stores.close()
                with processes(settings, found, listeners) as supervisor:
                    client = DemoClient(listeners.address, reviewer.token)
                    client.wait_until_ready(60.0)
                    console.print("the service is up on its embedded servers")
                    story = Story(world, client, sandbox_port, output, console)
                    story.submit(erase)
                    story.watch()
                    story.export(world.config)
                    story.look_for_residue()
                    client.close()
                    # Everybody's work has ended and is verified: there is nothing to wait for.
                    supervisor.hurry(_GRACE_SECONDS)


def _empty(output: Path) -> None:
    """A run's evidence replaces the last one's. Anything that isn't ours is left alone by refusing."""
    known = {"audit.jsonl", "audit.pub", "verify_audit.py", "certificates"}
    if output.exists():
        strange = {p.name for p in output.iterdir()} - known
        if strange:
            raise DemoFailed(f"{output} holds other files; give another --output")
        shutil.rmtree(output)
    output.mkdir(parents=True)


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """A fresh directory for everything that isn't evidence. Others may pass through it, for the servers' account."""
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
        python("-m", "connectors.base.sandbox", "--spec", str(world.spec)),
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
