"""The demo's picture: a table of people and systems that fills while the service works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

_GOOD = {"erased_verified": "erased", "absent": "absent"}
_COLOURS = {"waiting": "dim", "due": "yellow", "leased": "cyan", "accepted": "blue", "parked": "red"}


def progress_table(labels: Mapping[str, str], requests: Sequence[Mapping[str, Any]], systems: Sequence[str]) -> Table:
    """One row per request, one column per system. `labels` are made-up names for request ids."""
    table = Table(
        title="What is true of each person in each system; erased: seen to be gone after its erasure",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("person")
    table.add_column("request")
    for system in systems:
        table.add_column(system)
    for request in requests:
        steps = {step["system"]: step for step in request["steps"]}
        state = request["state"] + (f" ({request['reason']})" if request["reason"] else "")
        table.add_row(labels[request["id"]], state, *(_cell(steps.get(system)) for system in systems))
    return table


def _cell(step: Mapping[str, Any] | None) -> str:
    if step is None:
        return "[dim]-[/dim]"
    state = str(step["state"])
    text = _GOOD.get(state, f"{step['phase']}: {state}")
    return f"[{'green' if state in _GOOD else _COLOURS.get(state, 'white')}]{text}[/]"
