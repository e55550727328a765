"""`expunge connector`: one connector without the service, for trying a system out.

Decides the form of the output and the exit code: 0 all ended well, 3 something is still pending at the vendor, 1
something needs a human, 2 the call or its files can't be used. `connectors.base.runner` carries out the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from connectors.base.config import ConfigurationError
from connectors.base.interface import Operation
from connectors.base.registry import connector_class
from connectors.base.runner import NEEDS_A_HUMAN, Line, Outcome, Summary, run
from service.cli.groups import command_group
from service.cli.printing import Wide, note, show_json_line, show_table
from service.cli.requests.subjects_file import open_connector, read_subjects

EXIT_NEEDS_A_HUMAN, EXIT_UNUSABLE, EXIT_PENDING = 1, 2, 3

# A pretty traceback would print local variables, and those are people.
app = command_group("connector", "Try a connector out, without the service.")


@app.callback()
def connector() -> None:
    """Try a connector out, without the service."""


@app.command("run")
def run_connector(
    name: Annotated[str, typer.Argument(help="The connector's name, e.g. zendesk.")],
    config: Annotated[Path, typer.Option(help="TOML file with one [[systems]] entry.")],
    subjects: Annotated[Path, typer.Option(help="JSON Lines file, one person a line.")],
    operation: Annotated[Operation, typer.Option(help="Operation on these people; locate only reads.")],
    wait: Annotated[
        float | None,
        typer.Option(min=0.0, help="Seconds to wait for jobs, confirmation delays and retries; default: to the end."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per person and a last one of totals.")] = False,
    wide: Wide = False,
) -> None:
    """Locate, suppress, erase or confirm the people of a file.

    In one system, and without the service: no plan, approval, hold or audit log is involved, and `erase` really erases.
    Exit codes: 0 all ended well, 3 something is still pending at the vendor, 1 something needs a human, 2 the call or
    its files can't be used.
    """
    try:
        kind = connector_class(name)
        people = read_subjects(subjects)
        opened = open_connector(kind, config)
    except ConfigurationError as error:
        _refuse(str(error))
    lines: list[Line] = []
    show: Callable[[Line], None] = _print_json if as_json else lines.append
    limit = None if wait is None else timedelta(seconds=wait)
    try:
        summary = run(opened, people, operation, limit, show)
    except ConfigurationError as error:
        _refuse(str(error))
    finally:
        opened.close()
    if as_json:
        planned = {"planned_calls": dict(summary.planned_calls)} if summary.planned_calls else {}
        show_json_line({"calls": summary.calls, "seconds": round(summary.seconds, 3)} | planned)
    else:
        _print_table(lines, summary)
    raise typer.Exit(exit_code(summary.outcomes))


def exit_code(outcomes: Mapping[Outcome, int]) -> int:
    """Return the exit code. A person who needs a human has precedence over a pending one."""
    ended = {outcome for outcome, people in outcomes.items() if people}
    if ended & NEEDS_A_HUMAN:
        return EXIT_NEEDS_A_HUMAN
    return EXIT_PENDING if Outcome.ACCEPTED in ended else 0


def _refuse(text: str) -> NoReturn:
    note(text)
    raise typer.Exit(EXIT_UNUSABLE)


def _print_json(line: Line) -> None:
    document: dict[str, object] = {
        "subject": line.subject,
        "outcome": line.outcome.value,
        "reason": line.reason,
        "records": dict(line.records),
        "left": [{"object": each.object, "id": each.id, "reason": each.reason} for each in line.left],
        "not_covered": list(line.not_covered),
    }
    if line.plan_hash is not None:
        document["plan_hash"] = line.plan_hash
    if line.look_again_at is not None:
        document["look_again_at"] = line.look_again_at.isoformat()
    show_json_line(document)


def _print_table(lines: list[Line], summary: Summary) -> None:
    rows = [
        (
            line.subject,
            line.outcome.value,
            line.reason,
            ", ".join(f"{count} {name}" for name, count in line.records.items()),
            ", ".join(f"{each.object} ({each.reason})" for each in line.left),
            ", ".join(line.not_covered),
            line.look_again_at and line.look_again_at.isoformat(timespec="seconds"),
        )
        for line in lines
    ]
    show_table("people", ("subject", "outcome", "reason", "records", "left", "not covered", "look again at"), rows)
    note(f"{summary.calls} calls, {summary.seconds:.1f} s")
    for plan_hash in sorted({line.plan_hash for line in lines if line.plan_hash is not None}):
        note(f"plan {plan_hash}")
    if summary.planned_calls:
        told = ", ".join(f"{count} {name}" for name, count in summary.planned_calls.items())
        note(f"planned: {sum(summary.planned_calls.values())} calls ({told})")
