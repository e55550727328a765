"""The `expunge` command: mounts the sub-commands and nothing else."""

from __future__ import annotations

import typer

from service.cli import audit, audit_upkeep, connector, imports, keys, request, steps, systems
from service.cli.demo.run import demo
from service.cli.up import up
from service.cli.workers import workers

app = typer.Typer(
    name="expunge",
    help="Propagate a person's deletion to every system that holds their data, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(workers)
app.command()(demo)
app.add_typer(request.app, name="request")
app.add_typer(imports.app, name="imports")
app.add_typer(steps.app, name="steps")
app.add_typer(systems.app, name="systems")
audit_upkeep.add_to(audit.app)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
app.add_typer(connector.app, name="connector")

if __name__ == "__main__":
    app()
