"""The demo's picture: a table of people and systems that fills while the service works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from service.cli.demo.records import Line
from service.cli.printing import say, show_table
from service.cli.requests.answers import RequestAnswer, RequestStepAnswer

_GOOD = {"erased_verified": "erased", "absent": "absent"}
_WORDS = _GOOD | {"waiting": "waits", "parked": "parked"}
_COLOURS = {"waiting": "dim", "due": "yellow", "leased": "cyan", "accepted": "blue", "parked": "red"}


def progress_table(labels: Mapping[str, str], requests: Sequence[RequestAnswer], systems: Sequence[str]) -> Table:
    """One row per request, one column per system. `labels` are made-up names for request ids."""
    table = Table(
        title="Each person in each system (erased: a later look found nothing)",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    # 80 columns hold all of it, so that no word is cut off on a small terminal.
    for name in ("person", "request", *systems):
        table.add_column(name, overflow="fold")
    for request in requests:
        steps = {step["system"]: step for step in request["steps"]}
        state = request["reason"] or request["state"]
        table.add_row(labels[request["id"]], state, *(_cell(steps.get(system)) for system in systems))
    return table


def _cell(step: RequestStepAnswer | None) -> str:
    if step is None:
        return "[dim]-[/dim]"
    state = str(step["state"])
    text = _WORDS.get(state, str(step["phase"]))
    return f"[{'green' if state in _GOOD else _COLOURS.get(state, 'white')}]{text}[/]"


def show_records(lines: Sequence[Line], erased_people: int) -> None:
    """Print a row per system and kind of record: the numbers of records before and after.

    Kinds of which the erased people had none are counted below it, unless one of their records has changed.
    """
    theirs = f"{erased_people} erased people"
    apart = [line for line in lines if not (line.theirs_before or line.theirs_after or line.changed)]
    columns = ("system", "kind of record", f"{theirs}: before", "after", "everybody else: before", "after")
    rows = [
        (
            line.system,
            line.kind,
            f"{line.theirs_before:,}",
            f"{line.theirs_after:,}",
            f"{line.others_before:,}",
            f"{line.others_after:,} CHANGED" if line.changed else f"{line.others_after:,}",
        )
        for line in lines
        if line not in apart
    ]
    show_table("What the systems themselves say that they hold: records before and after", columns, rows)
    if apart:
        count = sum(line.others_after for line in apart)
        kinds = ", ".join(line.kind for line in apart)
        say(f"and {count:,} records, unchanged, of kinds of which the erased people had none: {kinds}")
