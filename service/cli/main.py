"""The `expunge` command: names the sub-commands and their modules, and prints its version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from service.cli.groups import Imported, command_group
from service.cli.printing import say
from service.logs import configure_logs

_SANDBOX = "service.cli.sandbox"
app = command_group(
    "expunge",
    "Propagate a person's deletion to every system that holds their data, and prove it.",
    {
        "up": Imported("service.cli.running.up", "up", "Run the service until Ctrl-C."),
        "workers": Imported("service.cli.running.workers", "workers"),
        "demo": Imported("service.cli.demo.run", "demo", "Erase people of a made-up company."),
        "sandbox": Imported(_SANDBOX, "sandbox", "Run a vendor's stand-in until Ctrl-C."),
        "sample-warehouse": Imported(
            "service.cli.sandbox", "sample_warehouse", "Write the sample company's warehouse."
        ),
        "request": Imported("service.cli.requests.request"),
        "imports": Imported("service.cli.requests.imports"),
        "steps": Imported("service.cli.requests.steps"),
        "holds": Imported("service.cli.requests.holds"),
        "systems": Imported("service.cli.systems"),
        "audit": Imported("service.cli.audit.commands"),
        "keys": Imported("service.cli.keys"),
        "encryption": Imported("service.cli.encryption"),
        "connector": Imported("service.cli.connector"),
    },
)


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
