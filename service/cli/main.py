"""The `expunge` command: mounts the sub-commands, and says its version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from service.cli import connector, encryption, keys, systems
from service.cli.audit import commands as audit
from service.cli.audit import upkeep as audit_upkeep
from service.cli.demo.run import demo
from service.cli.groups import command_group
from service.cli.printing import say
from service.cli.requests import holds, imports, request, steps
from service.cli.running.up import up
from service.cli.running.workers import workers
from service.cli.sandbox import sample_warehouse, sandbox
from service.logs import configure_logs

app = command_group("expunge", "Propagate a person's deletion to every system that holds their data, and prove it.")
app.command(short_help="Run the service until Ctrl-C.")(up)
app.command()(workers)
app.command(short_help="Erase people of a made-up company.")(demo)
app.command(short_help="Run a vendor's stand-in until Ctrl-C.")(sandbox)
app.command(short_help="Write the sample company's warehouse.")(sample_warehouse)
app.add_typer(request.app, name="request")
app.add_typer(imports.app, name="imports")
app.add_typer(steps.app, name="steps")
app.add_typer(holds.app, name="holds")
app.add_typer(systems.app, name="systems")
audit_upkeep.add_to(audit.app)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
app.add_typer(encryption.app, name="encryption")
app.add_typer(connector.app, name="connector")


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"expunge {version('expunge')}")
        raise typer.Exit


@app.callback()
def expunge(
    asked: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Propagate a person's deletion to every system that holds their data, and prove it."""
    # Results go to standard output, also as JSON: what is logged meanwhile must not stand among them.
    configure_logs("WARNING")


if __name__ == "__main__":
    app()
