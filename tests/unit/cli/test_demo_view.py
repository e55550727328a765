"""The demo's table of people and systems: whole on a terminal of 80 columns, and a parked step can't be overlooked."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from service.cli.demo.view import progress_table

SYSTEMS = ("warehouse", "crm", "mailing", "support", "support-eu", "identity-graph")


def request(state: str, reason: str | None, *steps: tuple[str, str]) -> dict[str, Any]:
    named = zip(SYSTEMS, steps, strict=True)
    return {
        "id": "r",
        "state": state,
        "reason": reason,
        "steps": [{"system": system, "state": state, "phase": phase} for system, (state, phase) in named],
    }


def test_no_word_is_cut_off_at_80_columns() -> None:
    steps = [("leased", "locate"), ("accepted", "confirm"), ("waiting", "erase"), ("parked", "erase")]
    steps += [("erased_verified", "confirm"), ("absent", "confirm")]
    shown = StringIO()

    Console(file=shown, width=80).print(
        progress_table({"r": "p000002"}, [request("in_progress", "needs_review", *steps)], SYSTEMS)
    )

    assert "…" not in shown.getvalue()
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert ["person", "request", *SYSTEMS] in lines
    words = ["locate", "confirm", "waits", "parked", "erased", "absent"]
    assert ["p000002", "needs_review", *words] in lines
